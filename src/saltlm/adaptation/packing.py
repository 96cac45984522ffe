"""Text as one long row of tokens on disk, read by position.

A document is framed as ``start tokens [end]`` and the documents follow each other without padding.
The start is what `saltlm.evaluation.bits_per_byte` predicts a first token from: bos where the
tokenizer puts one, and then eos ends the document; else eos alone, which then stands between.
A sequence is a run of ``length`` tokens, and the token after each of them is its target. The
positions restart with every document, from which the model keeps attention inside it.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from saltlm.files.progress import progress
from saltlm.models.logits import document_separator, document_start
from saltlm.tokenizer.fertility import encode_documents

TOKENS, STARTS, BYTE_STARTS, DTYPE = "tokens.bin", "starts.bin", "byte_starts.bin", "dtype"
_DOCUMENTS_AT_ONCE = 1000
_NUMBERS_AT_ONCE = 1 << 17


@dataclass(frozen=True)
class Frame:
    """What stands around the tokens of a document; ``end`` may be nothing."""

    start: int
    end: int | None


@dataclass(frozen=True)
class PackedText:
    """All documents of a source as tokens, memory-mapped.

    Attributes:
        name: the source.
        fingerprint: of its text.
        tokens: framed documents one after the other.
        starts: place of each document's first token, and of the end of the last one.
        byte_starts: UTF-8 bytes of the raw documents before each of them, and of all.
    """

    name: str
    fingerprint: str
    tokens: NDArray[Any]
    starts: NDArray[np.int64]
    byte_starts: NDArray[np.int64]

    def n_sequences(self, length: int) -> int:
        """How many sequences of a length there are; a last shorter one is left out."""
        return max(0, len(self.tokens) - 1) // length


def frame_of(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Frame:
    """Return how documents are framed for a model.

    Raises:
        VocabularyError: the tokenizer has neither bos nor eos.
    """
    start, end = document_start(model, tokenizer), tokenizer.eos_token_id
    return Frame(start, None if start in (end, document_separator(tokenizer)) else end)


def pack(
    framed: Iterable[tuple[list[int], int]],
    folder: Path,
    n_ids: int,
    *,
    max_tokens: int | None = None,
) -> None:
    """Write framed documents into a folder.

    Args:
        framed: the tokens of each document and its size in bytes.
        folder: an existing directory.
        n_ids: all ids are below this.
        max_tokens: stop after the document that reaches this.
    """
    dtype = np.uint16 if n_ids <= 1 << 16 else np.uint32
    (folder / DTYPE).write_text(np.dtype(dtype).str)
    n_tokens = n_bytes = 0
    with ExitStack() as opened:
        tokens, starts, byte_starts = _new_files(folder, opened)
        for ids, size in framed:
            n_tokens, n_bytes = n_tokens + len(ids), n_bytes + size
            tokens.write(np.asarray(ids, dtype).tobytes())
            starts.write(n_tokens.to_bytes(8, "little"))
            byte_starts.write(n_bytes.to_bytes(8, "little"))
            if max_tokens is not None and n_tokens >= max_tokens:
                break


def join_packed(parts: Sequence[Path], folder: Path) -> None:
    """Write into a folder what `pack` would have written of the documents of all parts."""
    shutil.copyfile(parts[0] / DTYPE, folder / DTYPE)
    with ExitStack() as opened:
        tokens, *places = _new_files(folder, opened)
        before = [0, 0]
        for part in parts:
            with (part / TOKENS).open("rb") as packed:
                shutil.copyfileobj(packed, tokens, 1 << 20)
            for which, name in enumerate((STARTS, BYTE_STARTS)):
                numbers = np.memmap(part / name, "<i8", mode="r")
                for first in range(1, len(numbers), _NUMBERS_AT_ONCE):
                    block = numbers[first : first + _NUMBERS_AT_ONCE]
                    places[which].write((block + before[which]).tobytes())
                before[which] += int(numbers[-1])


def _new_files(folder: Path, opened: ExitStack) -> list[BinaryIO]:
    """Open the files of tokens and of places; a place says what lies before it, so 0 is first."""
    names = (TOKENS, STARTS, BYTE_STARTS)
    files: list[BinaryIO] = [opened.enter_context((folder / name).open("wb")) for name in names]
    for file in files[1:]:
        file.write(bytes(8))
    return files


def open_packed(folder: Path, name: str, text: str) -> PackedText:
    """Map what `pack` wrote; a text without tokens cannot be mapped."""
    return PackedText(
        name=name,
        fingerprint=text,
        tokens=np.memmap(folder / TOKENS, np.dtype((folder / DTYPE).read_text()), mode="r"),
        starts=np.memmap(folder / STARTS, "<i8", mode="r"),
        byte_starts=np.memmap(folder / BYTE_STARTS, "<i8", mode="r"),
    )


def framed(
    texts: Iterator[str], tokenizer: PreTrainedTokenizerBase, frame: Frame
) -> Iterator[tuple[list[int], int]]:
    """Yield the tokens of each text in their frame, and its size in UTF-8 bytes."""
    end = [] if frame.end is None else [frame.end]
    with progress(desc="pack", unit=" documents") as bar:
        while batch := list(islice(texts, _DOCUMENTS_AT_ONCE)):
            for text, ids in zip(batch, encode_documents(tokenizer, batch), strict=True):
                yield [frame.start, *ids, *end], len(text.encode())
            bar.update(len(batch))


def unpack(packed: PackedText) -> Iterator[list[int]]:
    """Yield the framed documents again."""
    for start, end in zip(packed.starts[:-1], packed.starts[1:], strict=True):
        yield packed.tokens[start:end].tolist()


def sequence(packed: PackedText, number: int, length: int) -> Int64[np.ndarray, " t1"]:
    """Return the tokens of a sequence and the one after it."""
    first = number * length
    return packed.tokens[first : first + length + 1].astype(np.int64)


def positions(packed: PackedText, number: int, length: int) -> Int64[np.ndarray, " t"]:
    """Return the position of each token of a sequence in its document.

    The rest of a document that begins in an earlier sequence counts from 0 too.
    """
    places = np.arange(number * length, (number + 1) * length)
    document = np.searchsorted(packed.starts, places, side="right") - 1
    begin: NDArray[np.int64] = np.maximum(packed.starts[document], places[0])
    return places - begin


def bytes_before(packed: PackedText, place: int) -> float:
    """Return how many bytes of text lie before a token.

    Inside a document they are spread evenly over its tokens, so that the bytes of consecutive
    sequences sum to those of the text.
    """
    document = int(np.searchsorted(packed.starts, place, side="right")) - 1
    if document == len(packed.starts) - 1:
        return float(packed.byte_starts[-1])
    begin, end = packed.starts[document : document + 2].tolist()
    before, after = packed.byte_starts[document : document + 2].tolist()
    return float(before + (after - before) * (place - begin) / (end - begin))
