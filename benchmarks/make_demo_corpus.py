"""Make the demo's corpora from the Debian Administrator's Handbook, as they are in the package.

The English training text is shipped as `saltlm/alignment/english.txt.gz`.

Downloads Debian's package `debian-handbook` with apt-get (run `apt-get update` before), unpacks it
with dpkg, takes the paragraphs of its HTML, and writes for each language LANG into --out:

    LANG.txt.gz           training text, one paragraph a line, in the order of the book's file names
    LANG.heldout.txt.gz   about 2 % of the paragraphs, chosen by a hash of their text

The same package gives the same bytes. Usage:

    python benchmarks/make_demo_corpus.py [--deb FILE] [--out DIR]
"""

import argparse
import gzip
import subprocess
import tempfile
import unicodedata
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Iterator
from pathlib import Path

CORPUS = Path(__file__).parents[1] / "src" / "saltlm" / "demo" / "corpus"
EDITIONS = {"en": "en-US", "de": "de-DE", "ar": "ar-MA", "vi": "vi-VN"}
XHTML = "{http://www.w3.org/1999/xhtml}"
BLOCKS = {"div", "dl", "ol", "pre", "table", "ul"}
SHORTEST = 40  # characters; below it are captions and stubs
HELD_OUT_ONE_IN = 50
# Each edition is partly untranslated. Frequent words that no other language here has tell which
# language a paragraph is in, better than its script would: Arabic prose is full of Latin commands.
FUNCTION_WORDS = {
    "en": "the of and to in is that for it with as are be this by or from which you can",
    "de": "der die das und ist nicht ein eine zu den mit von auf für im dem werden wird oder sich",
    "ar": "في من على إلى أن هذا هذه التي الذي لا أو مع عن كل ما هو هي يمكن كما عند",
    "vi": "của và là các không có được cho trong một này với để những từ bạn khi thể như đã",
}


def unpack_handbook(deb: Path | None, directory: Path) -> Path:
    """Unpack the package into `directory`; returns the folder with one folder per edition."""
    if deb is None:
        subprocess.run(["apt-get", "download", "debian-handbook"], cwd=directory, check=True)
        (deb,) = directory.glob("debian-handbook_*.deb")
    subprocess.run(["dpkg", "-x", str(deb), str(directory)], check=True)
    return directory / "usr/share/doc/debian-handbook/html"


def own_text(element: ET.Element) -> Iterator[str]:
    """Yield the text of a paragraph without the blocks (lists, links, listings) inside it."""
    yield element.text or ""
    for child in element:
        if child.tag.removeprefix(XHTML) not in BLOCKS:
            yield from own_text(child)
        yield child.tail or ""


def paragraphs(edition: Path) -> Iterator[str]:
    """Yield every paragraph of an edition, normalised to NFC and single spaces."""
    for page in sorted(edition.glob("*.html")):
        for element in ET.parse(page).iter():
            if element.get("class") == "para":
                text = unicodedata.normalize("NFC", "".join(own_text(element)))
                yield " ".join(text.replace("\u00ad", "").replace("\u200b", "").split())


def language(text: str) -> str:
    """Return the language with the most function words in the text; "" if it has none."""
    words = text.lower().split()
    counts = {
        lang: sum(word in known for word in words)
        for lang, known in ((lang, set(line.split())) for lang, line in FUNCTION_WORDS.items())
    }
    best = max(counts, key=lambda lang: counts[lang])
    return best if counts[best] else ""


def write_lines(lines: list[str], path: Path) -> None:
    """Write gzip bytes that depend on the lines alone: no file name, no time."""
    with (
        path.open("wb") as file,
        gzip.GzipFile("", "wb", compresslevel=9, fileobj=file, mtime=0) as packed,
    ):
        packed.write("".join(line + "\n" for line in lines).encode())


def main() -> None:
    """Write the corpora and print a line of counts per language."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--deb", type=Path, help="the package, if it is already there")
    parser.add_argument("--out", type=Path, default=CORPUS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        html = unpack_handbook(options.deb, Path(temporary))
        for lang, edition in EDITIONS.items():
            lines = [
                line
                for line in dict.fromkeys(paragraphs(html / edition))
                if len(line) >= SHORTEST and language(line) == lang
            ]
            held_out = [line for line in lines if zlib.crc32(line.encode()) % HELD_OUT_ONE_IN == 0]
            training = [line for line in lines if zlib.crc32(line.encode()) % HELD_OUT_ONE_IN]
            write_lines(training, options.out / f"{lang}.txt.gz")
            write_lines(held_out, options.out / f"{lang}.heldout.txt.gz")
            size = sum(len(line.encode()) + 1 for line in training)
            print(f"{lang}: {len(training)} paragraphs, {size} bytes, {len(held_out)} held out")


if __name__ == "__main__":
    main()
