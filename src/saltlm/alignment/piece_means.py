"""PLM rows for tokens that the PLM does not have: the mean of the rows of their pieces."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from tokenizers import Tokenizer
from torch import Tensor

from saltlm.auxiliary.vectors import AuxiliaryVectors
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.vocabulary import Form, Vocabulary, cut_words


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
    pieces_of = _cutter(plm)
    forms: list[Form] = []
    pieces: list[tuple[int, ...]] = []
    rows = rows.clone()
    for place in lacking:
        form = vocabulary.forms[int(ids[place])]
        if form is not None and (found := pieces_of(form)):
            rows[place] = len(plm_vocabulary) + len(pieces)
            forms.append(form)
            pieces.append(tuple(found))
    return rows, PieceMeans(len(plm_vocabulary), tuple(forms), tuple(pieces))


def _cutter(definition: Definition) -> Callable[[Form], list[int]]:
    """Return the function that cuts a form into token ids; none if the tokenizer cannot spell it.

    The form's text runs through the tokenizer's normalizer and pre-tokenizer. Its first word gets
    the mark of a word's begin if the form has it, whatever the tokenizer puts before a text.
    """
    tokenizer, mark, prefix = definition.tokenizer, definition.mark, definition.prefix
    unknown_id = definition.unknown_id

    def cut(form: Form) -> list[int]:
        # WordPiece splits punctuation off a word, which shows only where a word goes before.
        continues = bool(prefix) and not form.begins_word
        try:
            text = ("a" if continues else " ") + form.text.decode()
        except UnicodeDecodeError:
            return []
        first, *words = cut_words(tokenizer, text) or [""]
        ids: list[int] = []
        if continues:
            ids += _inside_word(tokenizer, prefix, first[1:], unknown_id)
        else:
            words.insert(0, (mark if form.begins_word else "") + first.lstrip(mark))
        ids += (token.id for word in words if word for token in tokenizer.model.tokenize(word))
        return [] if unknown_id in ids else ids

    return cut


def _inside_word(tokenizer: Tokenizer, prefix: str, text: str, unknown: int) -> list[int]:
    """Return WordPiece's longest matches for text inside a word; unk if a part has none."""
    ids: list[int] = []
    while text:
        ends = range(len(text), 0, -1)
        matches = ((end, tokenizer.token_to_id(prefix + text[:end])) for end in ends)
        end, id = next(((end, id) for end, id in matches if id is not None), (len(text), None))
        ids.append(unknown if id is None else id)
        text = text[end:]
    return ids
