"""What the source says of a token by the rows of its first and last piece, shared tokens as well.

A shared token has a row of its own, so its pieces are those that the source would cut it into if it
did not have the token.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from saltlm.methods.inputs import MethodInputs, Rows
from saltlm.methods.linear_algebra import CHUNK, column_mean
from saltlm.methods.pieces import source_pieces

_PARTS = 5  # of the shared tokens; each is cut as if the source had none of its part


@dataclass(frozen=True)
class EndPieces:
    """Source ids of each token's first and last piece, -1 where it has none.

    Attributes:
        shared: of the shared tokens.
        new: of the new ones.
    """

    shared: Int64[Tensor, "n 2"]
    new: Int64[Tensor, "m 2"]


class Seen(NamedTuple):
    """What a map reads of runs of shared tokens and of new ones: f numbers of each."""

    shared: Rows
    new: Rows


def end_pieces(inputs: MethodInputs) -> EndPieces:
    """Return the first and the last of the source tokens that each token is cut into.

    None of them is held out, and those of a shared token are not in its part of the shared tokens,
    itself among them.

    Raises:
        ConfigError: the inputs have no texts.
    """
    texts = inputs.read_texts("pieces=true")
    held_out = set(inputs.held_out_ids.tolist())
    shared = torch.empty(len(inputs.shared_ids), 2, dtype=torch.int64)
    for first in range(_PARTS):
        part = slice(first, None, _PARTS)
        as_new = replace(texts, new_plm_ids=texts.shared_plm_ids[part])
        gone = held_out.union(inputs.shared_ids[part].tolist())
        shared[part] = _ends(source_pieces(as_new, gone, word_start=True))
    return EndPieces(shared, _ends(source_pieces(texts, held_out, word_start=True)))


def beside_plm_rows(inputs: MethodInputs, ends: EndPieces, table: Float[Tensor, "v_s h"]) -> Seen:
    """Return the PLM row of each token, and behind it the rows of its first and its last piece.

    The pieces' rows are less the mean source row, which stands for a piece that is not there, and
    scaled to the mean variance of the PLM's dimensions.
    """
    mean = column_mean(table, inputs.source_ids).float()

    def rows_of(ids: Int64[Tensor, "b 2"]) -> Float[Tensor, "b two_h"]:
        rows = table[ids.clamp_min(0)].float() - mean
        return rows.masked_fill_((ids < 0).unsqueeze(2), 0).flatten(1)

    squares = sum(float(rows_of(ids).square().sum()) for ids in ends.shared.split(CHUNK))
    of_plm = float(inputs.plm_shared.var(0, unbiased=False).mean())
    scale = math.sqrt(of_plm / max(squares / (2 * len(mean) * len(ends.shared)), 1e-30))

    def beside(plm: Float[Tensor, "x h_t"], ids: Int64[Tensor, "x 2"]) -> Rows:
        return lambda part: torch.cat([plm[part], scale * rows_of(ids[part])], dim=1)

    return Seen(beside(inputs.plm_shared, ends.shared), beside(inputs.plm_new, ends.new))


def _ends(pieces: Sequence[Sequence[int]]) -> Int64[Tensor, "m 2"]:
    ends = [(ids[0], ids[-1]) if ids else (-1, -1) for ids in pieces]
    return torch.tensor(ends, dtype=torch.int64).view(-1, 2)
