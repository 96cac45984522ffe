"""PLM rows for tokens that the PLM does not have: the mean of the rows of their pieces."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from saltlm.auxiliary.vectors import AuxiliaryVectors
from saltlm.tokenizer.cut_form import form_cutter
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.vocabulary import Form, Vocabulary


@dataclass(frozen=True)
class PieceMeans:
    """Rows behind those of the PLM's tokens: row ``n_plm + i`` is the mean of ``pieces[i]``.

    Attributes:
        n_plm: tokens of the PLM.
        forms: of the composed tokens.
        pieces: the PLM ids whose rows each is the mean of.
    """

    n_plm: int
    forms: tuple[Form, ...] = ()
    pieces: tuple[tuple[int, ...], ...] = ()

    def rows(self, table: Float[Tensor, "v_t h"]) -> Float[Tensor, "rows h"]:
        """Return the PLM's table with the composed rows, which take the place of its padding."""
        if not self.pieces:
            return table
        owner, pieces = self._flat()
        means = torch.zeros(len(self.pieces), table.shape[1])
        means.index_add_(0, owner, table[pieces].float())
        means /= torch.bincount(owner).unsqueeze(1)
        return torch.cat([table[: self.n_plm], means.to(table.dtype)])

    def auxiliary(self, vectors: AuxiliaryVectors) -> AuxiliaryVectors:
        """Return the vectors with composed ones; one is represented if all of its pieces are."""
        if not self.pieces:
            return vectors
        owner, pieces = self._flat()
        missing = torch.bincount(owner, weights=(~vectors.represented[pieces]).double())
        return AuxiliaryVectors(
            self.rows(vectors.matrix),
            torch.cat([vectors.represented[: self.n_plm], missing == 0]),
            vectors.description,
        )

    def pieces_of(
        self, rows: Int64[Tensor, " v"]
    ) -> tuple[Int64[Tensor, " v_plus_1"], Int64[Tensor, " pieces"]]:
        """Return the pieces behind each of some rows: offsets and PLM ids, as in `Provenance`."""
        pieces = [
            self.pieces[row - self.n_plm] if row >= self.n_plm else () for row in rows.tolist()
        ]
        k = torch.tensor([0, *map(len, pieces)])
        return k.cumsum(0), torch.tensor([id for ids in pieces for id in ids], dtype=torch.int64)

    def _flat(self) -> tuple[Int64[Tensor, " nnz"], Int64[Tensor, " nnz"]]:
        """Return the position of the token that each piece belongs to, and the pieces."""
        offsets, pieces = self.pieces_of(torch.arange(len(self.pieces)) + self.n_plm)
        return torch.repeat_interleave(offsets.diff()), pieces


def add_piece_means(
    vocabulary: Vocabulary,
    rows: Int64[Tensor, " n"],
    ids: Int64[Tensor, " n"],
    plm: Definition,
    plm_vocabulary: Vocabulary,
) -> tuple[Int64[Tensor, " n"], PieceMeans]:
    """Give a composed row to every token that the PLM lacks and can spell.

    Args:
        vocabulary: of the tokens.
        rows: the PLM's row of each token, -1 for those it lacks.
        ids: the tokens in ``vocabulary``, -1 for those that get no row.
        plm: of the PLM's tokenizer.
        plm_vocabulary: what its ids stand for.

    Returns:
        the rows, now with those of the piece_means, and the piece means.
    """
    lacking = ((rows < 0) & (ids >= 0)).nonzero().flatten().tolist()
    if not lacking:
        return rows, PieceMeans(len(plm_vocabulary))
    pieces_of = form_cutter(plm)
    forms: list[Form] = []
    pieces: list[tuple[int, ...]] = []
    rows = rows.clone()
    for place in lacking:
        form = vocabulary.forms[int(ids[place])]
        found = [] if form is None else pieces_of(form)
        if form is not None and found and plm.unknown_id not in found:
            rows[place] = len(plm_vocabulary) + len(pieces)
            forms.append(form)
            pieces.append(tuple(found))
    return rows, PieceMeans(len(plm_vocabulary), tuple(forms), tuple(pieces))
