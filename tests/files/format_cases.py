"""Files of every format that people bring, what is in them, and the table of it in the docs."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import tarfile
import zipfile
from typing import NamedTuple

import pyarrow
from backports import zstd
from pyarrow import parquet

LINES = ["Das Haus ist groß.", "Öl, „Käse“ und Brot; 3 €.", "Der Fluß fließt.", "Wo ist es?"]
TEXTS = ["Das Haus\nist groß.", "Öl,\n\n„Käse“ und Brot.", "Der Fluß\n\tfließt.", "Wo ist es?"]
PAIRS = [
    ("The house is big and old.", "Das Haus ist groß und alt."),
    ("That is the river.", "Das ist der Fluß."),
    ("He was in the city.", "Er war in der Stadt."),
    ("It is for you.", "Es ist für dich."),
]
ENGLISH, GERMAN = ([pair[side] for pair in PAIRS] for side in (0, 1))


class Case(NamedTuple):
    """A file: how the docs call it, its name, what is in it, and what is to come of it.

    A refusal stands in place of the documents, by the words that name the file's kind; `remedy` is
    then what comes of following the hint.
    """

    kind: str
    name: str
    data: bytes
    result: list | str
    remedy: list | None = None


def lines(texts, end="\n"):
    return "".join(text + end for text in texts)


def tabbed(rows):
    return "".join("\t".join(map(str, row)) + "\n" for row in rows).encode()


def jsonl(texts, field="text"):
    return lines(json.dumps({"id": "x", field: text, "lang": "de"}) for text in texts).encode()


def table(texts, field="text"):
    buffer = io.BytesIO()
    columns = {"id": ["x"] * len(texts), field: texts, "meta": [{"a": 1}] * len(texts)}
    parquet.write_table(pyarrow.table(columns), buffer)
    return buffer.getvalue()


def arrow(texts, open_writer):
    buffer = io.BytesIO()
    columns = pyarrow.table({"text": texts})
    with open_writer(buffer, columns.schema) as writer:
        writer.write_table(columns)
    return buffer.getvalue()


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def tarred(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def tmx(pairs):
    units = "".join(
        f'<tu><tuv xml:lang="en-US"><seg>{english}</seg></tuv><tuv xml:lang="de"><seg>'
        f'<bpt i="1">&lt;b&gt;</bpt>{german}</seg></tuv></tu>\n'
        for english, german in pairs
    )
    head = '<?xml version="1.0"?>\n<!DOCTYPE tmx SYSTEM "tmx14.dtd">\n<tmx version="1.4"><body>\n'
    return f"{head}{units}</body></tmx>\n".encode()


def wikipedia(texts):
    head = (
        '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/"><siteinfo><namespaces>'
        '<namespace key="6">Datei</namespace></namespaces></siteinfo>'
    )
    page = "<page><title>{}</title><ns>{}</ns>{}<revision><text>{}</text></revision></page>\n"
    pages = [page.format(f"S{n}", 0, "", text) for n, text in enumerate(texts)]
    pages += [page.format("A", 4, "", "no article"), page.format("B", 0, "<redirect/>", "#R [[C]]")]
    return f"{head}{''.join(pages)}</mediawiki>\n".encode()


WIKITEXT = [
    "'''Das [[Haus|Haus]]'''&lt;ref&gt;S. 3&lt;/ref&gt; ist groß.\n\n{{Infobox|a=b}}",
    "== Öl ==\n[[Datei:x.jpg|mini|Bild]]Käse &amp;amp; [http://x.org Brot].\n{|\n| weg\n|}",
]
PLAIN = ["Das Haus ist groß.", "Öl \nKäse & Brot.".replace(" \n", "\n")]
OBJECTS = json.dumps([{"text": text} for text in TEXTS])
TAB = "\t_"
EXTRACTED = "".join(f'<doc id="1">\n{text}\n</doc>\n' for text in LINES)
CONLLU = "".join(f"# text = {text}\n1{TAB * 9}\n\n" for text in LINES)
BOMB = '<?xml version="1.0"?><!DOCTYPE tmx [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><tmx>&b;</tmx>'
SHOWN = json.dumps({"data": LINES}, indent=1)
ONE = json.dumps({"id": 1, "text": "Das\nHaus"}, indent=1)
SUBTITLES = "".join(
    f"{at}\r\n00:00:0{at},000 --> 00:00:0{at},900\r\n{line}\r\n\r\n"
    for at, line in enumerate(LINES)
)
MESSAGES = "".join(f'#: a.c:1\nmsgid "x"\nmsgstr "{line}"\n\n' for line in LINES)
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"

CASES = [
    Case("text, one document a line", "a.txt", lines(LINES).encode(), LINES),
    Case("the same, packed by gzip", "a.txt.gz", gzip.compress(lines(LINES).encode()), LINES),
    Case("the same, packed by xz", "a.txt.xz", lzma.compress(lines(LINES).encode()), LINES),
    Case("the same, packed by bzip2", "a.bz2", bz2.compress(lines(LINES).encode()), LINES),
    Case("the same, packed by zstd", "a.zst", zstd.compress(lines(LINES).encode()), LINES),
    Case("packed under another name", "a.txt", gzip.compress(lines(LINES).encode()), LINES),
    Case("packed twice", "a.gz", gzip.compress(gzip.compress(b"a\n")), "packed twice", ["a"]),
    Case(
        "CC-100: a blank line ends a document",
        "a.txt",
        b"a\nb\n\nc\nd\n\n\ne\n",
        ["a\nb", "c\nd", "e"],
    ),
    Case("lines with blank ones between", "a.txt", lines(LINES, "\n\n").encode(), LINES),
    Case("line ends of Windows", "a.txt", lines(LINES, "\r\n").encode(), LINES),
    Case("line ends of old Macs", "a.txt", lines(LINES, "\r").encode(), LINES),
    Case(
        "other separators inside lines",
        "a.txt",
        "a\u2028b\x85c\x0bd\x0ce\nf\n".encode(),
        ["a\u2028b\x85c\x0bd\x0ce", "f"],
    ),
    Case("UTF-8 with its mark", "a.txt", lines(LINES).encode("utf-8-sig"), LINES),
    Case("UTF-16 with its mark", "a.txt", lines(LINES).encode("utf-16"), LINES),
    Case("UTF-16 without", "a.txt", lines(LINES).encode("utf-16-le"), LINES),
    Case("UTF-32 with its mark", "a.txt", lines(LINES).encode("utf-32"), LINES),
    Case("Latin-1, Windows-1252", "a.txt", lines(LINES * 9).encode("cp1252"), LINES * 9),
    Case(
        "another old encoding",
        "a.txt",
        ("Все люди рождаются свободными.\n" * 9).encode("cp1251"),
        "is not UTF-8; it may be cp1251",
        ["Все люди рождаются свободными."] * 9,
    ),
    Case(
        "one broken line among many",
        "a.txt",
        lines(LINES * 30).encode() + b"\xff\xfe\xfd\n",
        LINES * 30,
    ),
    Case("JSON, an object a line", "a.jsonl", jsonl(TEXTS), TEXTS),
    Case("JSON of OSCAR (`content`)", "a.jsonl.zst", zstd.compress(jsonl(TEXTS, "content")), TEXTS),
    Case("JSON of RedPajama (`raw_content`)", "a.jsonl", jsonl(TEXTS, "raw_content"), TEXTS),
    Case("JSON of C4", "c4.json.gz", gzip.compress(jsonl(TEXTS)), TEXTS),
    Case(
        "JSON with a field of another name",
        "a.jsonl",
        jsonl(TEXTS, "prosa"),
        "no field that is known to hold text; it has id, prosa, lang",
        TEXTS,
    ),
    Case(
        "JSON, a list for a text", "a", b'{"id": "x", "text": ["a"]}', r"text \(an array\)", LINES
    ),
    Case("JSON without text", "a.jsonl", b'{"chat": [{"a": "b"}]}', "no field with text", LINES),
    Case(
        "JSON, an array of objects",
        "a.json",
        OBJECTS.encode(),
        TEXTS,
    ),
    Case("JSON, an array of texts", "a.json", json.dumps(TEXTS, indent=2).encode(), TEXTS),
    Case(
        "JSON, one object with rows", "a.json", SHOWN.encode(), "one JSON object with data", LINES
    ),
    Case(
        "JSON, one object with a text",
        "a.json",
        ONE.encode(),
        "object with id, text",
        ["Das\nHaus"],
    ),
    Case(
        "JSON, objects over several lines",
        "a.jsonl",
        (ONE + "\n" + ONE).encode(),
        ["Das\nHaus"] * 2,
    ),
    Case("JSON, objects without line breaks", "a", b'{"text": "a"}{"text": "b"}', ["a", "b"]),
    Case("JSON in name alone", "a.jsonl", lines(LINES).encode(), "rows .4 not JSON.", LINES),
    Case("Parquet", "a.parquet", table(TEXTS), TEXTS),
    Case("Parquet with `content`", "a", table(TEXTS, "content"), TEXTS),
    Case("Parquet that calls text bytes", "a", table([t.encode() for t in TEXTS]), TEXTS),
    Case(
        "Arrow without text", "a", arrow([TEXTS], pyarrow.ipc.new_file), "no column of text", TEXTS
    ),
    Case("Arrow, as datasets writes it", "a.arrow", arrow(TEXTS, pyarrow.ipc.new_stream), TEXTS),
    Case("Arrow, as Feather", "a.feather", arrow(TEXTS, pyarrow.ipc.new_file), TEXTS),
    Case("CSV", "a.csv", b'id,text\n1,"a\nb"\n2,"c ""d"", e"\n3,f\n', ["a\nb", 'c "d", e', "f"]),
    Case(
        "CSV with a quotation mark that does not end",
        "a.csv",
        b'id,text\n1,"a\n2,b\n3,c\n',
        "unexpected end of data",
        ["id,text", '1,"a', "2,b", "3,c"],
    ),
    Case(
        "CSV with upright lines", "a.csv", "id|text\n1|a, b\n2|Größe\n".encode(), ["a, b", "Größe"]
    ),
    Case("CSV with semicolons", "a.csv", "id;text\n1;a, b\n2;Größe\n".encode(), ["a, b", "Größe"]),
    Case(
        "CSV with a column of another name",
        "a.csv",
        b"url,prosa,autor\nx y,a b c,c d\ne f,g h,i\n",
        "no field that is known to hold text; it has url, prosa, autor",
        ["a b c", "g h"],
    ),
    Case(
        "TSV with quotation marks that are text",
        "a.tsv",
        b'id\ttext\n1\t"a" b\n2\t"c\n',
        ['"a" b', '"c'],
    ),
    Case("Leipzig: numbered sentences", "a.txt", tabbed(enumerate(LINES)), LINES),
    Case(
        "Tatoeba: number, language, sentence",
        "a.tsv",
        tabbed((n, "deu", text) for n, text in enumerate(LINES)),
        LINES,
    ),
    Case(
        "pairs, a tab between", "a.txt", tabbed(PAIRS), "has 2 columns, 2 of them with text", GERMAN
    ),
    Case(
        "translation memory (TMX)", "a.tmx", tmx(PAIRS), "translation memory with en-us, de", GERMAN
    ),
    Case("XML with a bomb", "a.tmx", BOMB.encode(), "declares entities of its own", LINES),
    Case("Wikipedia dump", "w.xml.bz2", bz2.compress(wikipedia(WIKITEXT)), PLAIN),
    Case("WikiExtractor's output", "wiki_00", EXTRACTED.encode(), "output of WikiExtractor", LINES),
    Case("CoNLL-U", "a.conllu", CONLLU.encode(), "treebank in CoNLL-U", LINES),
    Case("subtitles", "a.srt", SUBTITLES.encode(), "is a file of subtitles", LINES),
    Case("messages of a program (gettext)", "a.po", MESSAGES.encode(), "gettext", LINES),
    Case("HTML", "a.html", b"<!DOCTYPE html><html><p>a</p></html>", "is an HTML page", LINES),
    Case("WARC, WET", "a.wet.gz", gzip.compress(b"WARC/1.0\r\n\r\nText\r\n"), "WARC or WET", LINES),
    Case(
        "other XML", "a.xml", b'<?xml version="1.0"?><TEI>a</TEI>', r"unknown kind \(<TEI>\)", LINES
    ),
    Case("zip", "a.zip", zipped({"a.txt": lines(LINES)}), "zip archive with a.txt", LINES),
    Case(
        "tar, packed or not",
        "a.tgz",
        tarred({"a.txt": lines(LINES)}),
        "tar archive inside gzip with a.txt",
        LINES,
    ),
    Case("Word, Excel, EPUB", "a.docx", zipped({"word/document.xml": "x"}), "Word document", LINES),
    Case("a Python pickle", "a.pkl", pickle.dumps(LINES), "is a Python pickle", LINES),
    Case("a Git LFS pointer", "a.txt", POINTER.encode(), "is a Git LFS pointer", LINES),
    Case("PDF", "a.pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "PDF document", LINES),
    Case("PostScript", "a.ps", b"%!PS-Adobe-3.0\n(Das Haus) show\n", "PostScript", LINES),
    Case(
        "unknown bytes",
        "a.bin",
        bytes(range(256)) * 9,
        "unknown bytes that begin with 00 01",
        LINES,
    ),
    Case("text with zero bytes", "a.txt", b"Ha\0us\n" * 9, "has 9 zero bytes", ["Haus"] * 9),
    Case(
        "nothing, or blank lines", "a.txt", b"\n \n", r"the corpus has no text \(.*a\.txt\)", LINES
    ),
]

PAIR_CASES = [
    Case("English, a tab, the translation", "a.tsv", tabbed(PAIRS), PAIRS),
    Case("the same, packed", "a.tsv.xz", lzma.compress(tabbed(PAIRS)), PAIRS),
    Case("in UTF-16", "a.tsv", tabbed(PAIRS).decode().encode("utf-16"), PAIRS),
    Case("with a header", "a.tsv", b"en\tde\n" + tabbed(PAIRS), PAIRS),
    Case("swapped: English second", "a.tsv", tabbed((g, e) for e, g in PAIRS), PAIRS),
    Case(
        "swapped, with a header",
        "a.csv",
        ("de,en\n" + "".join(f"{g},{e}\n" for e, g in PAIRS)).encode(),
        PAIRS,
    ),
    Case("numbered", "a.tsv", tabbed((n, *pair) for n, pair in enumerate(PAIRS)), PAIRS),
    Case(
        "Tatoeba: number, English, number, translation",
        "a.tsv",
        b"\xef\xbb\xbf" + tabbed((n, e, n + 9, g) for n, (e, g) in enumerate(PAIRS)),
        PAIRS,
    ),
    Case(
        "with licences behind (ManyThings)",
        "deu.txt",
        tabbed((*pair, f"CC-BY 2.0 (France) #{n}") for n, pair in enumerate(PAIRS)),
        PAIRS,
    ),
    Case(
        "three columns of text",
        "a.tsv",
        tabbed((*pair, "noch ein Satz") for pair in PAIRS),
        "3 columns of text, not two",
        PAIRS,
    ),
    Case("one column", "a.txt", lines(LINES).encode(), "is not in columns", PAIRS),
    Case(
        "Tatoeba of one language",
        "a.tsv",
        tabbed((str(n), "deu", g) for n, (_, g) in enumerate(PAIRS, 1)),
        "1 column of text, not two: column 3",
        PAIRS,
    ),
    Case(
        "JSON of OPUS (`translation`)",
        "a.jsonl",
        lines(json.dumps({"id": 1, "translation": {"de": g, "en": e}}) for e, g in PAIRS).encode(),
        PAIRS,
    ),
    Case(
        "JSON, other fields",
        "a.jsonl",
        lines(json.dumps({"eins": e, "zwei": g}) for e, g in PAIRS).encode(),
        "does not say which of its fields",
        PAIRS,
    ),
    Case("translation memory (TMX)", "a.tmx", tmx(PAIRS), PAIRS),
    Case(
        "translation memory of three languages",
        "a.tmx",
        tmx(PAIRS).replace(b"</tu>", b'<tuv xml:lang="fr"><seg>oui</seg></tuv></tu>'),
        "which of its fields are the two sides of a pair: ",
        PAIRS,
    ),
    Case(
        "zip of OPUS",
        "a.zip",
        zipped({"x.en": lines(ENGLISH), "x.de": lines(GERMAN)}),
        "zip archive with x.en, x.de",
        PAIRS,
    ),
]


def table_of_formats() -> str:
    """The rows of docs/formats.md; a test goes through each of them."""
    everywhere = "`--corpus`, `--data`, `--heldout`, `--english`"
    rows = [f"| format | {everywhere} |", "|---|---|", *map(_row, CASES)]
    rows += ["", "| format | `--parallel` |", "|---|---|", *map(_row, PAIR_CASES)]
    rows += ["| two files, a sentence a line: `en.txt,de.txt` | read |"]
    return "\n".join(rows)


def _row(case: Case) -> str:
    if not isinstance(case.result, str):
        return f"| {case.kind} | read |"
    return f"| {case.kind} | refused by name, with a way out |"
