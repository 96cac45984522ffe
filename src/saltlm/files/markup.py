"""Text in XML: translation memories (TMX), and dumps of Wikipedia; a unit at a time."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from saltlm.errors import DataError, MissingExtraError
from saltlm.files.bad_rows import BadRow, checked
from saltlm.files.compression import Unpacked, unreadable
from saltlm.files.source import Source

_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_CODES = frozenset(("bpt", "ept", "it", "ph", "ut"))  # a translation's formatting
_NO_TEXT = frozenset(("ref", "table", "gallery", "math", "timeline", "score", "syntaxhighlight"))
_NO_TEXT_LINKS = frozenset(("file", "image", "category"))  # beside a wiki's own names for them
_ARTICLES = "0"


def xml_root(head: bytes) -> str | None:
    """Return the name of an XML document's root; None for anything else."""
    encoding = "utf-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else "latin-1"
    text = head[:4096].decode(encoding, "ignore").removeprefix("ï»¿").lstrip()
    is_declared = text.startswith("<?xml")
    for begin, end in (("<?", "?>"), ("<!--", "-->"), ("<!", ">"), ("<!--", "-->")):
        while text.startswith(begin):
            text = text.partition(end)[2].lstrip("]> \t\r\n")
    found = re.match(r"<([A-Za-z][\w:.-]*)", text)
    return found[1] if found and (is_declared or found[1] in ("tmx", "mediawiki")) else None


def tmx_units(path: Path, opened: Unpacked) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the place of each unit of a translation memory, and its texts by language.

    Raises:
        DataError: it is damaged, or has entities of its own.
        MissingExtraError: defusedxml is not installed.
    """
    for number, (parent, element) in enumerate(_elements(path, opened, "tu"), 1):
        texts = {}
        for variant in element.iter("tuv"):
            language = variant.get(_LANGUAGE) or variant.get("lang") or ""
            segment = variant.find("seg")
            if segment is not None:
                texts[language.lower()] = "".join(_spoken(segment)).strip()
        yield f"unit {number}", texts
        parent.clear()


def tmx_texts(path: Path, opened: Unpacked, source: Source) -> Iterator[str | BadRow]:
    """Yield the texts of one language of a translation memory.

    Raises:
        DataError: the language is not named, or as in `tmx_units`.
    """
    for place, texts in tmx_units(path, opened):
        language = _language_in(texts, source, path)
        if language is None:
            yield BadRow(place, f"no {source.language}")
        else:
            yield checked(place, texts[language])


def wikipedia_texts(path: Path, opened: Unpacked) -> Iterator[str | BadRow]:
    """Yield the plain text of each article of a dump: no templates, tables, notes and images.

    Raises:
        DataError: it is damaged, or has entities of its own.
        MissingExtraError: defusedxml or mwparserfromhell is not installed.
    """
    try:
        import mwparserfromhell
    except ImportError as error:
        raise MissingExtraError(f"{path} (a Wikipedia dump)", "text") from error
    skipped = set(_NO_TEXT_LINKS)
    for parent, element in _elements(path, opened, "page", "namespace"):
        if element.tag == "namespace":
            skipped.add((element.text or "").strip().lower())
            continue
        if element.findtext("ns") == _ARTICLES or element.find("ns") is None:
            title = element.findtext("title") or "?"
            wikitext = element.findtext("revision/text") or ""
            if element.find("redirect") is None and wikitext.strip():
                plain = "".join(_plain(mwparserfromhell.parse(wikitext), skipped))
                text = re.sub(r"[ \t]*\n[ \t]*", "\n", plain)
                if text.strip():
                    yield checked(f"page {title!r}", re.sub(r"\n{3,}", "\n\n", text))
        parent.clear()


def _elements(path: Path, opened: Unpacked, *names: str) -> Iterator[tuple[Any, Any]]:
    """Yield the elements of these names with the one around them, without their namespace."""
    try:
        from defusedxml.ElementTree import iterparse
    except ImportError as error:
        raise MissingExtraError(f"{path} (XML)", "text") from error
    opened.stream.seek(0)
    around: list[Any] = []
    with _xml_errors(path):
        for event, element in iterparse(opened.stream, events=("start", "end")):
            element.tag = element.tag.rpartition("}")[2]
            if event == "start":
                around.append(element)
                continue
            around.pop()
            if element.tag in names:
                yield around[-1] if around else element, element


@contextmanager
def _xml_errors(path: Path) -> Iterator[None]:
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import ParseError

    try:
        yield
    except ParseError as error:
        raise unreadable(path, error) from error
    except DefusedXmlException as error:
        raise DataError(
            f"{path} declares entities of its own, which can be a bomb; it is not read",
            "write its text into a .txt or .jsonl file and give that",
        ) from error


def _language_in(texts: dict[str, str], source: Source, path: Path) -> str | None:
    wanted = (source.language or "").lower()
    found = [name for name in texts if name == wanted or name.split("-")[0] == wanted]
    if wanted:
        return found[0] if found else None
    shown = ", ".join(texts)
    example = ([name for name in texts if not name.startswith("en")] or [*texts, "de"])[0]
    raise DataError(
        f"{path} is a translation memory with {shown}",
        f"name the language to read: {source.with_options(language=example)}",
    )


def _spoken(segment: Any) -> Iterator[str]:
    """Yield the text of a segment without the codes of its formatting."""
    yield segment.text or ""
    for child in segment:
        if child.tag not in _CODES:
            yield from _spoken(child)
        yield child.tail or ""


def _plain(code: Any, skipped: set[str]) -> Iterator[str]:
    """Yield what a reader of wikitext sees as running text."""
    for node in code.nodes if code is not None else ():
        kind = type(node).__name__
        if kind == "Text":
            yield node.value
        elif kind == "HTMLEntity":
            yield node.normalize() or ""
        elif kind == "Tag" and str(node.tag).strip().lower() not in _NO_TEXT:
            yield from _plain(node.contents, skipped)
        elif kind == "Wikilink":
            space, colon, _ = str(node.title).partition(":")
            if not colon or space.strip().lower() not in skipped:
                yield from _plain(node.text if node.text is not None else node.title, skipped)
        elif kind in ("Heading", "ExternalLink"):
            yield from _plain(node.title, skipped)
