"""Every token with how its row came about: what the search of the report looks into."""

import base64
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from saltlm.errors import CheckpointError, quoted
from saltlm.files.json_object import parse_json, read_text
from saltlm.inspection.report.saved import SavedFiles
from saltlm.record.arrays import Origin
from saltlm.record.provenance import Provenance
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.kinds import script_of
from saltlm.tokenizer.shown import shown_form, shown_tokens
from saltlm.tokenizer.vocabulary import Vocabulary, form_spelled, read_vocabulary

SHOWN_NEIGHBOURS = 8  # of each token, those with the largest coefficients
_LARGEST = 60000.0  # coefficient that a float16 can hold


@dataclass(frozen=True)
class TokenTable:
    """The tokens of a model.

    Attributes:
        vocabulary: what each id stands for.
        names: each id as people can see it, and behind them the anchors that are no tokens.
        provenance: how each row came about.
    """

    vocabulary: Vocabulary
    names: list[str]
    provenance: Provenance

    @property
    def origins(self) -> list[str]:
        """Where the row of each id comes from, in words."""
        words = {int(kind): kind.name.lower() for kind in Origin}
        return [words[kind] for kind in self.provenance.origin.tolist()]


def read_token_table(saved: SavedFiles) -> TokenTable:
    """Read the tokens of a model and their record.

    Raises:
        CheckpointError: a file is damaged.
        VocabularyError: the tokenizer does not say where words begin.
    """
    file = saved.directory / "tokenizer.json"
    try:
        definition = Definition(parse_json(read_text(file)))
    except ValueError as error:
        raise CheckpointError(
            f"{file} is damaged: {error}", f"saltlm check {quoted(saved.directory)}"
        ) from error
    manifest = saved.manifest or {}
    special = [str(role["token"]) for role in manifest.get("roles", ())]
    vocabulary = read_vocabulary(definition, special=special)
    provenance = Provenance.load(saved.directory)
    n_rows = len(provenance.origin)
    names = (shown_tokens(vocabulary) + [""] * n_rows)[:n_rows]
    family = manifest.get("vocabulary", {}).get("source_family", "")
    names += [shown_form(form_spelled(name, family)) for name in provenance.anchor_names]
    return TokenTable(vocabulary, names, provenance)


def scripts_of(table: TokenTable) -> dict[str, Counter[str]]:
    """Return how many tokens of each script have each origin, the largest script first."""
    found: dict[str, Counter[str]] = {}
    for form, origin in zip(table.vocabulary.forms, table.origins, strict=False):
        if origin not in ("special", "padding"):
            found.setdefault(script_of(form), Counter())[origin] += 1
    return dict(sorted(found.items(), key=lambda item: -item[1].total()))


def columns_of(table: TokenTable) -> dict[str, str]:
    """Return the table as columns of bytes, deflated and in base64; see ``templates/script.js``.

    ``names`` are lines of UTF-8, the others numbers with the low byte first: a byte or an int32 an
    id (``origins``, ``sources``), a number a MADE token in the order of ids (``neighbours``,
    ``residuals``, ``norms``), and a number a neighbour that is shown (``places``, float16
    ``coefficients``). A place at or beyond the ids is that of an anchor which is no token.
    """
    provenance = table.provenance
    places, coefficients = _largest(provenance)
    anchors = provenance.anchor_ids.clone()
    is_other = anchors < 0
    first_name = len(anchors) - len(provenance.anchor_names)
    others = is_other.nonzero().flatten() - first_name + len(provenance.origin)
    anchors[is_other] = others
    columns: Mapping[str, np.ndarray] = {
        "origins": provenance.origin.numpy().astype("<u1"),
        "sources": provenance.source_ids.numpy().astype("<i4"),
        "neighbours": provenance.neighbours.k.numpy().astype("<u2"),
        "residuals": provenance.fit.residual.numpy().astype("<f4"),
        "norms": provenance.norm_ratio.numpy().astype("<f4"),
        "places": anchors[places].numpy().astype("<u4"),
        "coefficients": coefficients.clamp(-_LARGEST, _LARGEST).numpy().astype("<f2"),
    }
    packed = {name: _packed(column.tobytes()) for name, column in columns.items()}
    return {"names": _packed("\n".join(table.names).encode()), **packed}


def _largest(provenance: Provenance) -> tuple[Int64[Tensor, " shown"], Tensor]:
    """Return the neighbours with the largest coefficients of each MADE token, largest first."""
    neighbours, coefficients = provenance.neighbours, provenance.fit.coefficients
    token = torch.repeat_interleave(torch.arange(len(neighbours.k)), neighbours.k)
    by_size = coefficients.abs().argsort(descending=True, stable=True)
    order = by_size[token[by_size].argsort(stable=True)]
    rank = torch.arange(len(order)) - neighbours.offsets[token[order]]
    shown = order[rank < SHOWN_NEIGHBOURS]
    return neighbours.indices[shown], coefficients[shown]


def _packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 6)).decode("ascii")
