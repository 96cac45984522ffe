"""Texts that were packed once and are read from then on, in a folder that many may share.

A text of several files is packed file by file: each process that wants it takes files that no other
has, on this machine or on one that sees the same folder and its locks, and one of them puts the
parts together. A run that was killed goes on with the files that are left, and the result is, byte
for byte, that of one process that reads all. Where a file system has no locks, several may pack
the same file, and the later of the same bytes is thrown away.
"""

import hashlib
import json
import logging
import os
import shutil
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from saltlm.adaptation.packing import (
    TOKENS,
    Frame,
    PackedText,
    framed,
    join_packed,
    open_packed,
    pack,
)
from saltlm.errors import DataError, OutputError
from saltlm.files.atomic import disk_errors, sync
from saltlm.files.bad_rows import BadRow, RowCount
from saltlm.files.caches import cache_folder
from saltlm.files.documents import Text, documents, file_documents, is_endless
from saltlm.files.hashes import sha256
from saltlm.files.json_object import parse_json, read_json, read_text
from saltlm.files.leftovers import LOCK, aside, named_leftover, remove_dead
from saltlm.files.locks import take
from saltlm.files.said import say_once
from saltlm.files.source import Source, paths_of
from saltlm.tokenizer.fertility import whole_texts

logger = logging.getLogger(__name__)

_LAYOUT = 3  # part of the key: raise it when what a packed file means changes
_META = "meta.json"  # written last
_WAIT = 0.2  # seconds until a look at what the others have done


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
        with _errors_of(folder.parent):
            folder.parent.mkdir(parents=True, exist_ok=True)
            if has_parts(source):
                _pack_by_files(source, tokenizer, frame, key, folder)
            else:
                with _new_folder(folder) as new:
                    texts = framed(documents([source]), tokenizer, frame)
                    pack(texts, new, len(tokenizer), max_tokens=limit)
                    _check_has_text(new, source)
                    _write_meta(new, key, name=str(source))
    return open_packed(folder, str(source), text)


def has_parts(source: Text) -> bool:
    """Whether processes can share the work on a text: it has several files."""
    return len(paths_of(source)) > 1


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return what identifies how a tokenizer cuts whole texts."""
    with whole_texts(tokenizer) as backend:
        return hashlib.sha256(backend.to_str().encode()).hexdigest()


def _pack_by_files(
    source: Text,
    tokenizer: PreTrainedTokenizerBase,
    frame: Frame,
    key: Mapping[str, Any],
    folder: Path,
) -> None:
    """Pack files that nobody else is packing until all are done; then join them."""

    def pack_file(number: int) -> None:
        count = RowCount()
        with _new_folder(parts[number]) as new:
            texts = file_documents(source, files[number], count)
            pack(framed(texts, tokenizer, frame), new, len(tokenizer))
            _write_meta(new, {**key, "part": number}, rows=vars(count))

    def join() -> None:
        if not all([_is_whole(part) for part in parts]):
            return  # those that are damaged are gone now
        with _new_folder(folder) as new:
            join_packed(parts, new)
            count = RowCount()
            for part in parts:
                count.add(_rows_of(part))
            count.judge(Source.parse(source))
            _check_has_text(new, source)
            _write_meta(new, key, name=str(source))
        count.tell(Source.parse(source))

    files = paths_of(source)
    held = named_leftover(folder)  # so that what a killed run leaves is told of, and gone on with
    held.mkdir(exist_ok=True)
    parts = [held / f"{number:06}" for number in range(len(files))]
    first = zlib.crc32(f"{os.uname().nodename} {os.getpid()}".encode()) % len(files)
    order = [*range(first, len(files)), *range(first)]  # each process begins at another place
    with _held(held / LOCK):  # by one of the processes, while it is there
        while not _is_made(folder):
            try:
                is_done = _one_after_another(folder, parts, order, pack_file, join)
            except OSError:
                if not _is_made(folder):  # else another process has tidied up meanwhile
                    raise
                break
            if not is_done:
                say_once(f"waiting for other processes that cut {source} into tokens")
                time.sleep(_WAIT)
    shutil.rmtree(held, ignore_errors=True)


def _one_after_another(
    folder: Path,
    parts: Sequence[Path],
    order: Sequence[int],
    pack_file: Callable[[int], None],
    join: Callable[[], None],
) -> bool:
    """Do all that no other process is doing; tell whether there was something."""
    is_done = False
    for number in order:
        if _is_made(folder):
            return True
        if not _is_made(parts[number]):
            with _held(parts[number].with_suffix(".lock")) as is_ours:
                if is_ours and not _is_made(parts[number]):
                    pack_file(number)
                    is_done = True
    if all(map(_is_made, parts)):
        with _held(parts[0].with_name("join.lock")) as is_ours:
            if is_ours and not _is_made(folder):
                join()
                is_done = True
    return is_done


@contextmanager
def _held(path: Path) -> Iterator[bool]:
    """Take a lock, if no other process has it; yield whether it was taken."""
    try:
        lock = take(path)
    except BlockingIOError:
        yield False
        return
    try:
        yield True
    finally:
        os.close(lock)


def _is_made(folder: Path) -> bool:
    return (folder / _META).is_file()


def _is_whole(folder: Path) -> bool:
    """Whether a text, or a part of one, is there byte for byte; what is damaged is removed."""
    if not folder.is_dir():
        return False
    try:
        hashes = dict(parse_json(read_text(folder / _META))["files"])
        damaged = [name for name, written in hashes.items() if sha256(folder / name) != written]
    except (OSError, ValueError, KeyError, TypeError) as error:
        damaged = [str(error)]
    if damaged:
        logger.warning("%s is damaged (%s) and is made again", folder, damaged[0])
        shutil.rmtree(folder, ignore_errors=True)
    return not damaged


def _check_has_text(new: Path, source: Text) -> None:
    if not (new / TOKENS).stat().st_size:
        raise DataError(f"{source} holds no document", "give a file with text in it")


def _write_meta(new: Path, key: Mapping[str, Any], **more: Any) -> None:
    hashes = {file.name: sha256(file) for file in sorted(new.iterdir())}
    meta = {**key, **more, "files": hashes}
    (new / _META).write_text(json.dumps(meta, indent=2), encoding="utf-8")


def _rows_of(part: Path) -> RowCount:
    rows = read_json(part / _META)["rows"]
    named = [BadRow(*row) for row in rows["named"]]
    return RowCount(rows["n_rows"], Counter(rows["reasons"]), named)


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder to fill, which then gets its name."""
    with aside(folder.parent) as new:
        yield new
        sync(new)
        try:
            new.rename(folder)
        except OSError:
            if not _is_made(folder):  # else a faster run has made the same
                raise


@contextmanager
def _errors_of(cache: Path) -> Iterator[None]:
    """Name the option that chooses another place where this one cannot be written to."""
    hint = "choose another place: --set cache=DIR"
    try:
        with disk_errors(cache):
            yield
    except OutputError as error:
        raise OutputError(error.what, f"free some space, or {hint}") from error
    except OSError as error:
        raise OutputError(f"cannot write {cache}: {error.strerror}", hint) from error
