"""Why a row looks as it does: the neighbours of a token and their signed weights."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from saltlm.errors import CheckpointError, VocabularyError, quoted
from saltlm.models.hub import local_directory
from saltlm.record.arrays import Arrays, Origin, read_arrays
from saltlm.record.fits import was_fitted
from saltlm.record.manifest import FOLDER, read_manifest
from saltlm.tokenizer.load import open_tokenizer


@dataclass(frozen=True)
class Influence:
    """One neighbour of a token.

    Attributes:
        token: as the new tokenizer writes it; as the source's, if the new model does not have it.
        id: in the new vocabulary; None if it is not there.
        coefficient: what its source row is multiplied with.
        cosine: in the auxiliary space.
        weight: by sparsemax; above zero for every neighbour.
    """

    token: str
    id: int | None
    coefficient: float
    cosine: float
    weight: float


_TOLD = 5  # neighbours that are named where there is one line


@dataclass(frozen=True, repr=False)
class Explanation:
    """How the row of one token was made.

    Attributes:
        token: as the new tokenizer writes it.
        text: the token as people read it.
        id: in the new vocabulary.
        origin: as in `Origin`, in lower case.
        plm_id: the PLM's id, None if the token is not the PLM's.
        plm_pieces: the PLM's ids whose mean stands for the row that it lacks; else none.
        source_id: the source's id that was copied, None if none was.
        residual: share of the PLM row that the neighbours cannot express; None without neighbours.
        norm_ratio: norm of the row over the mean norm of the anchors'; None unless linear.
        influences: the neighbours, by the size of their coefficient.
        mapped: what one map for all tokens reads of it, which the neighbours only correct; None if
            the row is of the neighbours alone.
        then: what new rows, or all, went through since: fits to text, training; or nothing. A fit
            moves the rows that it meets.
    """

    token: str
    text: str
    id: int
    origin: str
    plm_id: int | None
    source_id: int | None
    plm_pieces: tuple[int, ...] = ()
    residual: float | None = None
    norm_ratio: float | None = None
    influences: tuple[Influence, ...] = ()
    mapped: str | None = None
    then: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    def __repr__(self) -> str:
        told = f"Explanation({self.text!r}, id {self.id}: {self.origin}"
        if self.mapped is not None:
            told += f" by one map of {self.mapped}, corrected by a sum"
        if self.source_id is not None:
            told += f", the source's row {self.source_id}"
        if self.influences:
            most = ", ".join(f"{i.coefficient:+.2f} {i.token}" for i in self.influences[:_TOLD])
            more = len(self.influences) - _TOLD
            told += f" of {most}" + (f" and {more} more" if more > 0 else "")
        if self.residual is not None:
            told += f"; residual {self.residual:.2f}"
        if self.then:
            told += f"; then {self.then}"
        return told + ")"


def explain(directory: str | Path, tokens: str | Sequence[str]) -> list[Explanation]:
    """Return how the rows of the given tokens were made.

    Args:
        directory: as `saltlm transfer` wrote it.
        tokens: one or several, each a text, which stands for the tokens that the tokenizer makes of
            it, a token as the tokenizer writes it (``▁Haus``), or ``#`` and an id (``#812``).

    Raises:
        CheckpointError: the directory has no record.
        VocabularyError: an id beyond the vocabulary, or a text that gives no token.
    """
    directory = Path(directory)
    local_directory(directory)
    tokens = [tokens] if isinstance(tokens, str) else tokens
    arrays, names = read_arrays(directory)
    file = directory / "tokenizer.json"
    if not file.is_file():
        raise CheckpointError(
            f"{directory} has no tokenizer.json", f"saltlm check {quoted(directory)}"
        )
    tokenizer, history = open_tokenizer(file), _history(directory)
    return [
        _explain_id(id, arrays, names, tokenizer, history)
        for token in tokens
        for id in _ids(token, tokenizer, len(arrays["origin"]))
    ]


def _ids(token: str, tokenizer: Tokenizer, size: int) -> list[int]:
    if token.startswith("#") and token[1:].isdecimal():
        ids = [int(token[1:])]
    else:
        ids = tokenizer.encode(token, add_special_tokens=False).ids
        exact = tokenizer.token_to_id(token)
        if len(ids) != 1 and exact is not None:
            ids = [exact]
    if not ids:
        raise VocabularyError(
            f"the tokenizer makes no token of {token!r}", "give a token, a word, or #ID"
        )
    if max(ids) >= size:
        raise VocabularyError(
            f"{token} is beyond the {size} tokens that the record knows",
            f"give an id from #0 to #{size - 1}",
        )
    return ids


class _History(NamedTuple):
    """What the record says of how rows were made; ``mapped`` as in `Explanation`."""

    mapped: str | None = None
    fitted: bool = False
    trained: bool = False


def _history(directory: Path) -> _History:
    if not (directory / FOLDER / "manifest.json").is_file():
        return _History()
    record = read_manifest(directory)
    method, mapped = record.get("method", {}), None
    if method.get("name") == "global-residual":
        pieces = method["options"].get("pieces")  # a model of before has no such option
        mapped = "its PLM row, first and last source piece" if pieces else "its PLM row"
    return _History(mapped, was_fitted(record), bool(record.get("adaptations")))


def _explain_id(
    id: int, arrays: Arrays, names: tuple[str, ...], tokenizer: Tokenizer, history: _History
) -> Explanation:
    plm_id, source_id = int(arrays["plm_ids"][id]), int(arrays["source_ids"][id])
    origin = Origin(int(arrays["origin"][id]))
    is_new = origin in (Origin.MADE, Origin.SAMPLED)
    head = Explanation(
        token=tokenizer.id_to_token(id) or "",
        text=tokenizer.decode([id], skip_special_tokens=False),
        id=id,
        origin=origin.name.lower(),
        plm_id=plm_id if plm_id >= 0 else None,
        source_id=source_id if source_id >= 0 else None,
        plm_pieces=_pieces(id, arrays),
        then=" and ".join(
            ["fits to text"] * (history.fitted and is_new) + ["training"] * history.trained
        ),
    )
    places = (arrays["new_ids"] == id).nonzero()[0]
    if not len(places):
        return head
    place = int(places[0])
    part = slice(*arrays["offsets"][place : place + 2].tolist())
    parts = (arrays[name][part] for name in ("indices", "coefficients", "cosines", "weights"))
    influences = [
        Influence(*_anchor(anchor, arrays["anchor_ids"], names, tokenizer), *numbers)
        for anchor, *numbers in zip(*(one.tolist() for one in parts), strict=True)
    ]
    residual = float(arrays["residual"][place])
    return replace(
        head,
        residual=residual if math.isfinite(residual) else None,
        norm_ratio=float(arrays["norm_ratio"][place]),
        influences=tuple(sorted(influences, key=lambda i: -abs(i.coefficient))),
        mapped=history.mapped,
    )


def _pieces(id: int, arrays: Arrays) -> tuple[int, ...]:
    """Return the PLM's tokens that a token's PLM row is the mean of; none if it has its own."""
    if "piece_offsets" not in arrays or "piece_ids" not in arrays:
        return ()
    start, end = arrays["piece_offsets"][id : id + 2].tolist()
    return tuple(arrays["piece_ids"][start:end].tolist())


def _anchor(
    place: int, ids: NDArray[np.int64], names: tuple[str, ...], tokenizer: Tokenizer
) -> tuple[str, int | None]:
    """Return the token and the id of an anchor."""
    id = int(ids[place])
    if id >= 0:
        return tokenizer.id_to_token(id) or "", id
    return names[place - len(ids)], None
