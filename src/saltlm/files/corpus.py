"""Training text: its rows are read one by one, and bad ones are counted and named, not fatal.

A source is a file (one document a line, plain or gzipped; ``.jsonl``; ``.parquet``) or a dataset
of the Hugging Face Hub, written ``owner/name`` or ``owner/name:config``, which is streamed.
"""

import gzip
import json
import logging
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from saltlm.errors import DataError, MissingExtraError
from saltlm.files.hashes import sha256

logger = logging.getLogger(__name__)

_NAMED = 5  # bad rows that a message lists
_JUDGED_AFTER = 10_000  # rows after which too many bad ones stop the reading early


class BadRow(NamedTuple):
    """A row that holds no document: where it is, and why."""

    place: str
    reason: str


@dataclass(frozen=True)
class Source:
    """Where text comes from.

    Attributes:
        name: as the user wrote it: a file, or a dataset of the Hub.
        text_field: the field that holds the text where rows have fields.
        split: of a Hub dataset.
        max_bad_share: share of bad rows beyond which the source is refused.
    """

    name: str
    text_field: str = "text"
    split: str = "train"
    max_bad_share: float = 0.01

    @property
    def is_file(self) -> bool:
        """Whether it is on disk; anything else is taken for a dataset of the Hub."""
        return Path(self.name).exists()


def documents(source: Source) -> Iterator[str]:
    """Yield the texts of a source in their order, without white space around them.

    At the end, or when the reader has enough, a warning says how many rows were left out and why.

    Raises:
        DataError: the source cannot be read, or too many of its rows are bad.
    """
    n_rows = 0
    reasons: Counter[str] = Counter()
    named: list[BadRow] = []
    for row in _rows(source):
        n_rows += 1
        if isinstance(row, str):
            try:
                yield row
            except GeneratorExit:
                _tell(source, n_rows, reasons, named)
                raise
            continue
        reasons[row.reason] += 1
        if len(named) < _NAMED:
            named.append(row)
        if n_rows >= _JUDGED_AFTER:
            _judge(source, n_rows, reasons, named)
    _judge(source, n_rows, reasons, named)
    _tell(source, n_rows, reasons, named)


def fingerprint(source: Source) -> str:
    """Return what identifies the text of a source: its SHA-256, or the commit of a dataset.

    Raises:
        DataError: the file cannot be read, or the Hub cannot be asked.
    """
    if source.is_file:
        try:
            return sha256(Path(source.name))
        except OSError as error:
            raise _unreadable(source, error) from error
    name, config = _hub_name(source)
    from huggingface_hub import HfApi

    try:
        return f"{HfApi().dataset_info(name).sha} {config or ''} {source.split}"
    except Exception as error:  # no network, no such dataset, no access: each its own class
        raise DataError(
            f"{source.name} is neither a file nor a dataset that the Hub gives: {_first(error)}",
            "check the path, or give owner/name or owner/name:config",
        ) from error


def _rows(source: Source) -> Iterator[str | BadRow]:
    if not source.is_file:
        yield from _dataset_rows(source)
        return
    path = Path(source.name)
    suffixes = {suffix.lower() for suffix in path.suffixes[-2:]}
    try:
        if ".parquet" in suffixes:
            yield from _parquet_rows(source, path)
        elif suffixes & {".jsonl", ".ndjson", ".json"}:
            yield from _json_rows(source, path)
        else:
            yield from _text_rows(path)
    except (OSError, EOFError) as error:
        raise _unreadable(source, error) from error


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    with path.open("rb") as opened:
        is_gzip = opened.read(2) == b"\x1f\x8b"
    with gzip.open(path, "rb") if is_gzip else path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            yield f"line {number}", line


def _text_rows(path: Path) -> Iterator[str | BadRow]:
    for place, line in _lines(path):
        try:
            yield _checked(place, line.decode())
        except UnicodeDecodeError:
            yield BadRow(place, "not UTF-8")


def _json_rows(source: Source, path: Path) -> Iterator[str | BadRow]:
    for place, line in _lines(path):
        try:
            row = json.loads(line)
        except UnicodeDecodeError:
            yield BadRow(place, "not UTF-8")
        except json.JSONDecodeError:
            yield BadRow(place, "not JSON")
        else:
            yield _field(place, row, source.text_field)


def _parquet_rows(source: Source, path: Path) -> Iterator[str | BadRow]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError(source.name, "adapt") from error
    try:
        with parquet.ParquetFile(path) as file:
            if source.text_field not in file.schema_arrow.names:
                raise DataError(
                    f"{path} has no column {source.text_field!r}; it has"
                    f" {', '.join(file.schema_arrow.names)}",
                    "name the column that holds the text: --set text_field=NAME",
                )
            number = 0
            for batch in file.iter_batches(columns=[source.text_field]):
                for row in batch.to_pylist():
                    number += 1
                    yield _field(f"row {number}", row, source.text_field)
    except pyarrow.ArrowException as error:
        raise _unreadable(source, error) from error


def _dataset_rows(source: Source) -> Iterator[str | BadRow]:
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise MissingExtraError(source.name, "adapt") from error
    name, config = _hub_name(source)
    try:
        for number, row in enumerate(
            load_dataset(name, config, split=source.split, streaming=True), 1
        ):
            yield _field(f"row {number}", row, source.text_field)
    except Exception as error:  # datasets lets through what its many readers raise
        raise DataError(
            f"{source.name} cannot be read from the Hub: {_first(error)}",
            f"look at https://huggingface.co/datasets/{name}; its split is --set split=NAME",
        ) from error


def _hub_name(source: Source) -> tuple[str, str | None]:
    found = re.fullmatch(r"([\w.-]+/[\w.-]+)(?::([\w.-]+))?", source.name)
    if not found or Path(source.name).suffix in {".txt", ".gz", ".jsonl", ".parquet"}:
        raise DataError(
            f"{source.name} does not exist",
            "give a file, or a dataset of the Hub as owner/name or owner/name:config",
        )
    return found[1], found[2]


def _field(place: str, row: Any, name: str) -> str | BadRow:
    if not isinstance(row, dict) or not isinstance(row.get(name), str):
        return BadRow(place, f"no text in the field {name!r}")
    return _checked(place, row[name])


def _checked(place: str, text: str) -> str | BadRow:
    text = text.strip()
    if not text:
        return BadRow(place, "empty")
    try:
        text.encode()
    except UnicodeEncodeError:  # JSON can spell half of a surrogate pair
        return BadRow(place, "not Unicode text")
    return text


def _judge(source: Source, n_rows: int, reasons: Counter[str], named: list[BadRow]) -> None:
    if reasons.total() > source.max_bad_share * n_rows:
        raise DataError(
            f"{source.name} has too many bad rows: {_describe(n_rows, reasons, named)}",
            "mend the file, or put up with them: --set max_bad_share="
            f"{min(1.0, 1.1 * reasons.total() / n_rows):.2g}",
        )


def _tell(source: Source, n_rows: int, reasons: Counter[str], named: list[BadRow]) -> None:
    if reasons:
        logger.warning("%s: left out %s", source.name, _describe(n_rows, reasons, named))


def _describe(n_rows: int, reasons: Counter[str], named: list[BadRow]) -> str:
    counts = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    first = ", ".join(f"{row.place} ({row.reason})" for row in named)
    return f"{reasons.total()} of {n_rows} rows ({counts}), the first are {first}"


def _unreadable(source: Source, error: Exception) -> DataError:
    return DataError(f"{source.name} cannot be read: {_first(error)}", "fetch or make it again")


def _first(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
