"""Text as one long row of tokens on disk, prepared once and then read by position.

A document is framed as ``start tokens [end]`` and the documents follow each other without padding.
The start is what `saltlm.evaluation.bits_per_byte` predicts a first token from: bos where the
tokenizer puts one, and then eos ends the document; else eos alone, which then stands between.
A sequence is a run of ``length`` tokens, and the token after each of them is its target. The
positions restart with every document, from which the model keeps attention inside it.
"""

import hashlib
import json
import logging
import shutil
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from saltlm.errors import DataError, OutputError
from saltlm.files.atomic import disk_errors, sync
from saltlm.files.caches import cache_folder
from saltlm.files.documents import Text, documents, is_endless
from saltlm.files.hashes import sha256
from saltlm.files.json_object import parse_json, read_text
from saltlm.files.leftovers import aside, remove_dead
from saltlm.files.progress import progress
from saltlm.models.logits import document_separator, document_start
from saltlm.tokenizer.fertility import encode_documents

logger = logging.getLogger(__name__)

_LAYOUT = 2  # part of the key: raise it when what a packed file means changes
_DOCUMENTS_AT_ONCE = 1000


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


def pack_text(
    source: Text,
    text: str,
    tokenizer: PreTrainedTokenizerBase,
    frame: Frame,
    *,
    cache: Path | None = None,
    max_tokens: int | None = None,
) -> PackedText:
    """Return a source as tokens, from the cache if it was packed before.

    The cache's key is made of the text, the tokenizer and how documents are read and framed.

    Args:
        source: where the text comes from.
        text: its fingerprint.
        tokenizer: what cuts it.
        frame: what stands around a document.
        cache: a directory; `~/.cache/saltlm/packed` (or below ``XDG_CACHE_HOME``) if not given.
        max_tokens: stop here if the source is a Hub dataset, which may be without end.

    Raises:
        DataError: the source cannot be read, or holds no document.
        OutputError: the disk of the cache is full or read-only.
    """
    limit = max_tokens if is_endless(source) else None
    key = {
        "layout": _LAYOUT,
        "text": text,
        "tokenizer": tokenizer_hash(tokenizer),
        "frame": asdict(frame),
        "max_tokens": limit,
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    folder = (cache or cache_folder("packed")) / digest[:32]
    remove_dead(folder.parent)
    if not _is_whole(folder):
        with _new_folder(folder) as partial:
            framed = _tokenize(documents([source]), tokenizer, frame)
            n_documents = pack(framed, partial, len(tokenizer), max_tokens=limit)
            if not n_documents:
                raise DataError(f"{source} holds no document", "give a file with text in it")
            hashes = {file.name: sha256(file) for file in sorted(partial.iterdir())}
            meta = {**key, "name": str(source), "files": hashes}
            (partial / "meta.json").write_text(json.dumps(meta, indent=2), encoding="utf-8")
    return open_packed(folder, str(source), text)


def _is_whole(folder: Path) -> bool:
    """Whether the cache has a text, byte for byte; one that is damaged is removed."""
    if not folder.is_dir():
        return False
    try:
        hashes = dict(parse_json(read_text(folder / "meta.json"))["files"])
        damaged = [name for name, written in hashes.items() if sha256(folder / name) != written]
    except (OSError, ValueError, KeyError, TypeError) as error:
        damaged = [str(error)]
    if damaged:
        logger.warning("%s is damaged (%s) and is made again", folder, damaged[0])
        shutil.rmtree(folder)
    return not damaged


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return what identifies how a tokenizer cuts text."""
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()


def pack(
    framed: Iterable[tuple[list[int], int]],
    folder: Path,
    n_ids: int,
    *,
    max_tokens: int | None = None,
) -> int:
    """Write framed documents into a folder and return how many there were.

    Args:
        framed: the tokens of each document and its size in bytes.
        folder: an existing directory.
        n_ids: all ids are below this.
        max_tokens: stop after the document that reaches this.
    """
    dtype = np.uint16 if n_ids <= 1 << 16 else np.uint32
    starts, byte_starts = array("q", [0]), array("q", [0])
    with (folder / "tokens.bin").open("wb") as file:
        for ids, n_bytes in framed:
            file.write(np.asarray(ids, dtype).tobytes())
            starts.append(starts[-1] + len(ids))
            byte_starts.append(byte_starts[-1] + n_bytes)
            if max_tokens is not None and starts[-1] >= max_tokens:
                break
    np.save(folder / "starts.npy", np.frombuffer(starts, np.int64))
    np.save(folder / "byte_starts.npy", np.frombuffer(byte_starts, np.int64))
    (folder / "dtype").write_text(np.dtype(dtype).str)
    return len(starts) - 1


def open_packed(folder: Path, name: str, text: str) -> PackedText:
    """Map what `pack` wrote."""
    dtype = np.dtype((folder / "dtype").read_text())
    return PackedText(
        name=name,
        fingerprint=text,
        tokens=np.memmap(folder / "tokens.bin", dtype, mode="r"),
        starts=np.load(folder / "starts.npy", mmap_mode="r"),
        byte_starts=np.load(folder / "byte_starts.npy", mmap_mode="r"),
    )


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


def _tokenize(
    texts: Iterator[str], tokenizer: PreTrainedTokenizerBase, frame: Frame
) -> Iterator[tuple[list[int], int]]:
    end = [] if frame.end is None else [frame.end]
    with progress(desc="pack", unit=" documents") as bar:
        while batch := list(islice(texts, _DOCUMENTS_AT_ONCE)):
            for text, ids in zip(batch, encode_documents(tokenizer, batch), strict=True):
                yield [frame.start, *ids, *end], len(text.encode())
            bar.update(len(batch))


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder to fill, which then gets its name."""
    hint = "choose another place: --set cache=DIR"
    try:
        with disk_errors(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with aside(folder.parent) as partial:
                yield partial
                sync(partial)
                try:
                    partial.rename(folder)
                except OSError:
                    if not (folder / "meta.json").is_file():  # else a faster run has made the same
                        raise
    except OutputError as error:
        raise OutputError(error.what, f"free some space, or {hint}") from error
    except OSError as error:
        raise OutputError(f"cannot write {folder.parent}: {error.strerror}", hint) from error
