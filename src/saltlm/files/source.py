"""What a user writes for text, and the files it stands for.

A text is a file, a folder, a pattern such as ``news/*.jsonl``, or a dataset of the Hugging Face Hub
as ``owner/name``, ``owner/name:config`` or ``owner/name:config:split``. How it is to be read is
told from its content; behind a ``#`` it can be said: ``german.jsonl#body``,
``german.csv#field:3,encoding:cp1250``.
"""

import glob
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from saltlm.errors import DataError
from saltlm.files.hashes import sha256

_OPTIONS = ("field", "layout", "encoding", "bad", "language", "english", "target")
_LAYOUTS = ("lines", "paragraphs")
_NO_TEXT = ("README*", "LICENSE*", "NOTICE*", ".*", "_*")  # of a folder's files


class HubName(NamedTuple):
    """A dataset of the Hub."""

    dataset: str
    config: str | None
    split: str


@dataclass(frozen=True)
class Source:
    """Text as a user named it.

    Attributes:
        name: all that was written.
        place: the part before the options: a file, a folder, a pattern, or a dataset of the Hub.
        field: where rows have the text: a field's name, or a column's number.
        layout: what ends a document of plain text: its line, or a blank line (``paragraphs``).
        encoding: of the characters.
        bad: share of rows without text beyond which the source is refused.
        language: the one to read where there are several.
        english: the field, column or language of a pair's English side.
        target: that of its other side.
    """

    name: str
    place: str
    field: str | None = None
    layout: str | None = None
    encoding: str | None = None
    bad: float = 0.01
    language: str | None = None
    english: str | None = None
    target: str | None = None

    @classmethod
    def parse(cls, name: str | Path) -> "Source":
        """Return what was meant by a name with options behind it.

        Raises:
            DataError: an option is unknown, or has a value it cannot have.
        """
        name = str(name)
        place, mark, written = name.rpartition("#")
        if not mark or Path(name).exists():
            return cls(name, name)
        options: dict[str, Any] = {}
        for part in written.split(","):
            key, colon, value = part.partition(":")
            key, value = (key, value) if colon else ("field", key)
            if key not in _OPTIONS or not value:
                raise DataError(
                    f"{name}: {part!r} says nothing about a text",
                    f"write FILE#FIELD or FILE#KEY:VALUE,... with {', '.join(_OPTIONS)}",
                )
            options[key] = value
        if options.get("layout", "lines") not in _LAYOUTS:
            raise DataError(
                f"{name}: layout is {options['layout']!r}", f"it is one of {', '.join(_LAYOUTS)}"
            )
        if "bad" in options:
            options["bad"] = _share(name, options["bad"])
        if "encoding" in options:
            _check_encoding(name, options["encoding"])
        return cls(name, place, **options)

    def with_options(self, **options: Any) -> str:
        """Return the name to write for the same text with other options."""
        changed = replace(self, **options)
        default = {field.name: field.default for field in fields(self)}
        written = [
            f"{key}:{value:g}" if isinstance(value, float) else f"{key}:{value}"
            for key in _OPTIONS
            if (value := getattr(changed, key)) != default[key]
        ]
        return f"{self.place}#{','.join(written)}" if written else self.place

    @property
    def options(self) -> str:
        """What decides how it is read, for keys of caches."""
        return replace(self, place="", bad=0.01).with_options()

    @property
    def hub(self) -> HubName | None:
        """The dataset of the Hub that is meant; None for anything on disk."""
        found = re.fullmatch(
            r"([\w.-]+/[\w.-]+)(?::([\w.-]*))?(?::([\w.-]+))?", self.place, re.ASCII
        )
        if not found or Path(self.place).exists() or Path(self.place).suffix.lower() in _SUFFIXES:
            return None
        return HubName(found[1], found[2] or None, found[3] or "train")

    def files(self) -> Iterator[Path]:
        """Yield the files that the name stands for, in the order of their names.

        Raises:
            DataError: there is none, or one cannot be read twice.
        """
        path = Path(self.place).expanduser()
        if path.is_dir():
            found = _files_in(path)
        elif path.exists():
            found = [path]
        elif glob.has_magic(self.place):
            matches = sorted(Path(match) for match in glob.iglob(str(path), recursive=True))
            found = [file for match in matches for file in _parts(match)]
        else:
            raise DataError(
                f"{self.place} does not exist",
                "give a file, or a dataset of the Hub as owner/name or owner/name:config",
            )
        if not found:
            raise DataError(f"{self.place} holds no file", "give a file, or a folder with files")
        for file in found:
            if not file.is_file():
                raise DataError(
                    f"{file} is a pipe or a device; a text is read more than once",
                    "write it to a file first, and give that",
                )
            yield file


def suffix_of(path: Path) -> str:
    """Return the suffix that says what is in a file, packed or not."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in PACKED_SUFFIXES:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def paths_of(text: str | Path) -> list[Path]:
    """Return the files of a text; none for a dataset of the Hub.

    Raises:
        DataError: there is none, or one cannot be read twice.
    """
    source = Source.parse(text)
    return [] if source.hub is not None else list(source.files())


PACKED_SUFFIXES = frozenset((".gz", ".xz", ".bz2", ".zst"))
JSON_SUFFIXES = frozenset((".json", ".jsonl", ".ndjson"))
TABLE_SUFFIXES = frozenset((".csv", ".tsv"))
_SUFFIXES = frozenset(  # no dataset's name ends so
    (".txt", ".gz", ".xz", ".bz2", ".zst", ".json", ".jsonl", ".ndjson", ".parquet", ".arrow")
    + (".csv", ".tsv", ".tmx", ".xml", ".zip", ".tar")
)


def fingerprint(text: str | Path) -> str:
    """Return what identifies a text: the SHA-256 of its files, or the commit of a dataset.

    How it is read, where the name says it, counts too.

    Raises:
        DataError: a file cannot be read, or the Hub cannot be asked.
    """
    source = Source.parse(text)
    if source.hub is not None:
        return _commit(source, source.hub) + source.options
    try:
        hashes = [sha256(file) + _kind(file) for file in source.files()]
    except OSError as error:
        raise DataError(
            f"{source.place} cannot be read: {error.strerror}", "look at its permissions"
        ) from error
    content = hashes[0]
    if len(hashes) > 1:
        content = hashlib.sha256("\n".join(hashes).encode()).hexdigest()
    return content + source.options


def _commit(source: Source, hub: HubName) -> str:
    from huggingface_hub import HfApi

    try:
        return f"{HfApi().dataset_info(hub.dataset).sha} {hub.config or ''} {hub.split}"
    except Exception as error:  # no network, no such dataset, no access: each its own class
        said = str(error).strip().partition("\n")[0] or type(error).__name__
        raise DataError(
            f"{source.place} is neither a file nor a dataset that the Hub gives: {said}",
            "check the path, or give owner/name or owner/name:config",
        ) from error


def _kind(file: Path) -> str:
    """Return the suffix of a file if it decides how the file is read."""
    suffix = suffix_of(file)
    return suffix if suffix in JSON_SUFFIXES | TABLE_SUFFIXES else ""


def _parts(path: Path) -> list[Path]:
    return _files_in(path) if path.is_dir() else [path]


def _files_in(folder: Path) -> list[Path]:
    """Return the files of a folder and of those in it, without what stands beside texts."""
    if (folder / "dataset_dict.json").is_file():
        splits = sorted(path.name for path in folder.iterdir() if path.is_dir())
        raise DataError(
            f"{folder} holds several splits: {', '.join(splits)}",
            f"give one of them: {folder / (splits[0] if splits else 'train')}",
        )
    if (folder / "dataset_info.json").is_file() and (folder / "state.json").is_file():
        return sorted(folder.glob("*.arrow"))
    return sorted(
        path
        for path in folder.rglob("*")
        if not path.is_dir()
        and not any(
            Path(part).match(pattern)
            for part in path.relative_to(folder).parts
            for pattern in _NO_TEXT
        )
    )


def _share(name: str, value: str) -> float:
    try:
        share = float(value)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise DataError(f"{name}: bad is {value!r}", "it is a share of the rows, such as bad:0.05")
    return share


def _check_encoding(name: str, encoding: str) -> None:
    try:
        "".encode(encoding)
    except LookupError as error:
        raise DataError(
            f"{name}: there is no encoding {encoding!r}",
            "name one that Python knows, such as encoding:cp1252 or encoding:utf-16",
        ) from error
