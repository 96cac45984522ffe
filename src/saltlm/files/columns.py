"""Text in columns: Parquet, Arrow, and datasets of the Hugging Face Hub, read batch by batch."""

import io
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from saltlm.errors import DataError, MissingExtraError
from saltlm.files.bad_rows import BadRow, checked
from saltlm.files.compression import Unpacked, unreadable
from saltlm.files.fields import choose_field, field_texts, hides_text, is_text_field
from saltlm.files.json_rows import WRITE_ROWS
from saltlm.files.source import HubName, Source

_BATCH = 512  # rows


def parquet_texts(path: Path, opened: Unpacked, source: Source) -> Iterator[str | BadRow]:
    """Yield the texts of a column.

    Raises:
        DataError: no column holds text, or the file is damaged.
        MissingExtraError: pyarrow is not installed.
    """
    pyarrow = _pyarrow(path)
    with _on_disk(opened) as file, _arrow_errors(pyarrow, path):
        table = pyarrow.parquet.ParquetFile(file)
        field = choose_field(_text_names(pyarrow, table.schema_arrow, path), source, path)
        yield from _texts(table.iter_batches(_BATCH, columns=[field]), field)


def arrow_texts(path: Path, opened: Unpacked, source: Source) -> Iterator[str | BadRow]:
    """Yield the texts of a column of what datasets or pyarrow wrote.

    Raises:
        DataError: no column holds text, or the file is damaged.
        MissingExtraError: pyarrow is not installed.
    """
    pyarrow = _pyarrow(path)
    with _on_disk(opened) as file, _arrow_errors(pyarrow, path):
        if opened.head.startswith(b"ARROW1"):
            table = pyarrow.ipc.open_file(file)
            batches = map(table.get_batch, range(table.num_record_batches))
        else:
            table = pyarrow.ipc.open_stream(file)
            batches = iter(table)
        field = choose_field(_text_names(pyarrow, table.schema, path), source, path)
        yield from _texts((batch.select([field]) for batch in batches), field)


def parquet_rows(path: Path, opened: Unpacked) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and all fields of each row.

    Raises:
        DataError: the file is damaged.
        MissingExtraError: pyarrow is not installed.
    """
    pyarrow = _pyarrow(path)
    with _on_disk(opened) as file, _arrow_errors(pyarrow, path):
        number = 0
        for batch in pyarrow.parquet.ParquetFile(file).iter_batches(_BATCH):
            for row in batch.to_pylist():
                number += 1
                yield f"row {number}", row


def hub_texts(hub: HubName, source: Source) -> Iterator[str | BadRow]:
    """Yield the texts of a dataset of the Hub, no further than they are asked for.

    Raises:
        DataError: it cannot be read.
        MissingExtraError: datasets is not installed.
    """
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise MissingExtraError(source.name, "text") from error
    try:
        rows = load_dataset(hub.dataset, hub.config, split=hub.split, streaming=True)
        numbered = ((f"row {number}", row) for number, row in enumerate(rows, 1))
        yield from field_texts(numbered, source, source.place)
    except DataError:
        raise
    except Exception as error:  # datasets lets through what its many readers raise
        said = str(error).strip().partition("\n")[0] or type(error).__name__
        raise DataError(
            f"{source.place} cannot be read from the Hub: {said}",
            f"look at https://huggingface.co/datasets/{hub.dataset}; a split stands last:"
            f" {hub.dataset}:{hub.config or ''}:NAME",
        ) from error


def _texts(batches: Iterable[Any], field: str) -> Iterator[str | BadRow]:
    number = 0
    for batch in batches:
        for text in batch.column(0).to_pylist():
            number += 1
            if isinstance(text, bytes):  # older programs do not say that it is text
                text = text.decode("utf-8", "replace")
            yield checked(f"row {number}", text, field)


def _text_names(pyarrow: Any, schema: Any, path: Path) -> list[str]:
    """Return the columns that hold strings, and those of bytes that are called as texts are."""
    flat = [field for field in schema if not pyarrow.types.is_nested(field.type)]
    strings, as_bytes = (
        [field.name for field in flat if kind in str(field.type)] for kind in ("string", "binary")
    )
    found = [*strings, *filter(is_text_field, as_bytes)] or as_bytes
    if found and not hides_text(found, schema.names):
        return found
    shown = ", ".join(f"{field.name} ({field.type})" for field in schema) or "none"
    raise DataError(f"{path} has no column of text; its columns are {shown}", WRITE_ROWS)


@contextmanager
def _on_disk(opened: Unpacked) -> Iterator[io.BufferedIOBase]:
    """Yield a file that can be read at any place: unpacked aside if it was packed."""
    if opened.packing is None:
        yield opened.stream
        return
    with tempfile.TemporaryFile(prefix="saltlm-") as file:
        shutil.copyfileobj(opened.stream, file)
        file.seek(0)
        yield file


@contextmanager
def _arrow_errors(pyarrow: Any, path: Path) -> Iterator[None]:
    try:
        yield
    except pyarrow.ArrowException as error:
        raise unreadable(path, error) from error


def _pyarrow(path: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError(str(path), "text") from error
    return pyarrow
