"""Vector files of every format, each with the same few words."""
# ruff: noqa: E501  # a case is a line

import bz2
import gzip
import io
import json
import lzma
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import fasttext
import msgpack
import numpy as np
from backports import zstd

from fasttext_files import fasttext_bytes, write_fasttext
from saltlm.auxiliary.spacy_format import word_key

WORDS = ["haus", "Straße", ",", "3.14", "nhà", "der", "maus"]
ROWS = np.random.default_rng(5).normal(size=(len(WORDS), 6)).round(4).astype("<f4")
MORE = [f"wort{i}" for i in range(300)]  # a quantised model has 256 rows at least


def lines(words=WORDS, rows=ROWS, separator=" "):
    return [separator.join([word, *map(str, row)]) for word, row in zip(words, rows, strict=True)]


def text(header="7 6\n", **options):
    return header + "\n".join(lines(**options)) + "\n"


def binary(words=WORDS, encoding="utf-8"):
    pairs = [(w.encode(encoding), row.tobytes()) for w, row in zip(words, ROWS, strict=True)]
    return b"7 6\n" + b"".join(word + b" " + row + b"\n" for word, row in pairs)


def zipped(**members):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return packed.getvalue()


def tarred(data):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo("words.vec")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


def quantised(folder, **options):
    """fastText itself quantises a classifier whose rows are known."""
    labels = [f"__label__{i}" for i in range(2)]
    classifier = write_fasttext(folder / "classifier.bin", WORDS + MORE, labels=labels)
    model = fasttext.load_model(str(classifier))
    (folder / "labelled.txt").write_text("__label__0 haus\n")
    model.quantize(input=str(folder / "labelled.txt"), **options)
    model.save_model(str(folder / "model.ftz"))
    return folder / "model.ftz"


def floret_table(bucket=20, seed=2166136261, marks="< >"):
    rows = np.random.default_rng(2).normal(size=(bucket, 6)).round(4).astype("f4")
    return f"{bucket} 6 3 5 2 {seed} {marks}\n" + "\n".join(lines(map(str, range(bucket)), rows))


def spacy_folder(folder, *, floret=False):
    vocab = folder / "de_core" / "vocab"
    vocab.mkdir(parents=True)
    keys = {} if floret else {word_key(word): row for row, word in enumerate(WORDS)}
    (vocab / "key2row").write_bytes(msgpack.packb(keys | ({} if floret else {391: 0})))
    (vocab / "strings.json").write_text(json.dumps([*WORDS, *MORE], indent=1))
    with (vocab / "vectors").open("wb") as file:
        np.save(file, ROWS)
    settings = {"mode": "default"}
    if floret:
        settings = {"mode": "floret", "minn": 3, "maxn": 5, "hash_count": 2, "bow": "<", "eow": ">"}
        settings["hash_seed"] = 2166136261
    (vocab / "vectors.cfg").write_text(json.dumps(settings))
    return vocab.parent


def numberbatch(languages=("de",)):
    words = [word.lower().replace("3.14", "#.##") for word in WORDS]
    parts = ["\n".join(lines([f"/c/{code}/{word}" for word in words])) for code in languages]
    return f"{len(words) * len(parts)} 6\n" + "\n".join(parts) + "\n"


def gensim_pickle(protocol):
    """A pickle of gensim's class, which is not installed: GLOBAL, or STACK_GLOBAL from 4 on."""
    module, name = b"gensim.models.keyedvectors", b"KeyedVectors"
    if protocol < 4:
        return b"\x80" + bytes([protocol]) + b"c" + module + b"\n" + name + b"\n)\x81."
    short = b"".join(b"\x8c" + bytes([len(part)]) + part for part in (module, name))
    return b"\x80" + bytes([protocol]) + short + b"\x93)\x81."


@dataclass(frozen=True)
class Case:
    """A file, and what becomes of it.

    Attributes:
        what: the format, for the table.
        name: of the file.
        make: its bytes, or what writes it into a folder and returns what to name.
        refused: words of the message if it is refused.
        result: where the way out puts the file that is read then.
        composes: any string gets a vector; else exactly the words have their rows.
        note: what the log says about it.
    """

    what: str
    name: str
    make: bytes | str | Callable[[Path], Path]
    refused: str = ""
    result: str = ""
    composes: bool = False
    note: str = ""

    def write(self, folder: Path) -> Path:
        if callable(self.make):
            return self.make(folder)
        file = folder / self.name
        file.write_bytes(self.make.encode() if isinstance(self.make, str) else self.make)
        return file


WORD_FILES = [
    Case("word2vec text, fastText .vec", "v.vec", text()),
    Case("GloVe text: no header", "glove.txt", text("")),
    Case("words that hold blanks", "v.txt", text() + "New York" + " 1" * 6 + "\n", note="says 7 words"),
    Case("gzip", "v.vec.gz", gzip.compress(text().encode())),
    Case("bzip2", "v.vec.bz2", bz2.compress(text().encode())),
    Case("xz", "v.vec.xz", lzma.compress(text().encode())),
    Case("zstd", "v.vec.zst", zstd.compress(text().encode())),
    Case("zip of one file", "v.zip", zipped(**{"v.vec": text()})),
    Case("packed, under a wrong name", "v.txt", gzip.compress(text().encode())),
    Case("byte order mark", "v.vec", "\ufeff" + text()),
    Case("CRLF", "v.vec", text().replace("\n", "\r\n")),
    Case("tabs", "v.tsv", text("", separator="\t")),
    Case("several blanks between numbers", "v.txt", text("", separator="  ")),
    Case("header with a wrong number of words", "v.vec", text("99 6\n"), note="says 99 words"),
    Case("header with a wrong width", "v.vec", text("7 4\n"), note="says 4 numbers a word"),
    Case("a word twice", "v.vec", text("14 6\n") + text(""), note="stand twice: the first"),
    Case("NaN in a row", "v.vec", text("8 6\n") + "fehlt" + " nan" * 6 + "\n", note="NaN, infinite or no numbers"),
    Case("word2vec binary", "v.bin", binary()),
    Case("word2vec binary whose header has too few words", "v.bin", binary().replace(b"%d" % len(WORDS), b"3", 1), note="says 3 words"),
    Case("word2vec binary, packed", "v.bin.gz", gzip.compress(binary())),
    Case("ConceptNet Numberbatch, one language", "nb.txt.gz", gzip.compress(numberbatch().encode())),
    Case("SentencePiece's pieces: BPEmb", "de.vec", text(words=["\u2581haus", *WORDS[1:-1], "\u2581maus", "haus"], rows=[*ROWS, ROWS[1]], header=""), note="SentencePiece's pieces"),
    Case("spaCy model, its `vocab` folder, or a file in it", "", spacy_folder, note="DATE, mark"),
]  # fmt: skip
SUBWORD_FILES = [
    Case("fastText .bin: skipgram, cbow", "m.bin", fasttext_bytes(WORDS), composes=True),
    Case("fastText .bin: supervised", "m.bin", fasttext_bytes(WORDS, labels=["a"]), composes=True),
    Case("fastText .ftz: quantised", "", quantised, composes=True),
    Case(
        "fastText .ftz: pruned", "",
        lambda folder: quantised(folder, cutoff=300, qnorm=True), composes=True,
    ),
    Case("floret .bin", "m.bin", fasttext_bytes(WORDS, floret=(2, 3)), composes=True),
    Case("floret .floret", "m.floret", floret_table(), composes=True),
    Case(
        "spaCy model with floret vectors", "",
        lambda folder: spacy_folder(folder, floret=True), composes=True,
    ),
]  # fmt: skip


def several(folder):
    file = folder / "glove.zip"
    file.write_bytes(zipped(**{"v50.txt": text(), "v300.txt": text()}))
    return file


def companion(folder):
    (folder / "v.kv").write_bytes(gensim_pickle(4))
    np.save(folder / "v.kv.vectors.npy", ROWS)
    return folder / "v.kv.vectors.npy"


def arrays(folder):
    np.savez(folder / "v.npz", words=np.array(WORDS), vectors=ROWS)
    return folder / "v.npz"


def alone(folder):
    (folder / "words.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    np.save(folder / "v.npy", ROWS)
    return folder / "v.npy"


SHORT = text().replace(lines()[3], " ".join(lines()[3].split()[:4]))
WITHOUT = [word for word in WORDS if word != WORDS[3]]
REFUSED = [
    Case("ConceptNet Numberbatch, several languages", "nb.txt", numberbatch(("de", "en")), refused="in several languages"),
    Case("fastText .bin, packed", "m.bin.gz", gzip.compress(fasttext_bytes(WORDS), 1), refused="packed", composes=True),
    Case("gensim .kv, .model", "v.kv", gensim_pickle(4), refused="pickle of gensim's KeyedVectors", result="v.vec"),
    Case("gensim, older pickle", "v.kv", gensim_pickle(2), refused="pickle of gensim's KeyedVectors", result="v.vec"),
    Case("gensim's .npy beside a .kv", "", companion, refused="numbers of v.kv beside it", result="v.vec"),
    Case("another pickle", "v.pkl", pickle.dumps(dict(zip(WORDS, ROWS.tolist(), strict=True))), refused="Python pickle"),
    Case("numpy .npz", "", arrays, refused="holds numpy arrays"),
    Case("numpy .npy", "", alone, refused="numpy array, which holds no words"),
    Case("CSV", "v.csv", '",",' + lines(separator=",")[2][2:] + "\n" + "\n".join(lines(separator=",")[:2]) + "\n", refused="table with commas"),
    Case("decimal commas", "v.txt", text("").replace("3.14", "acht").replace(".", ","), refused="decimal commas"),
    Case("Latin-1", "v.txt", "\n".join(lines([word.replace("nhà", "Tür") for word in WORDS])).encode("latin-1"), refused="not UTF-8"),
    Case("word2vec binary, Latin-1", "v.bin", binary([word.replace("nhà", "Tür") for word in WORDS], "latin-1"), refused="not UTF-8", result="v.vec"),
    Case("UTF-16", "v.txt", text().encode("utf-16"), refused="is UTF-16"),
    Case("a line with too few numbers", "v.vec", SHORT, refused="line 5: 3 numbers where 6 belong"),
    Case("cut within the last line", "v.vec", text("99 6\n").rstrip("\n"), refused="ends within a line"),
    Case("zip of several files", "", several, refused="zip archive of 2 files"),
    Case("tar", "v.tar", tarred(text().encode()), refused="tar archive", result="words.vec"),
    Case("tar.gz", "v.tar.gz", gzip.compress(tarred(text().encode()), 1), refused="tar archive", result="words.vec"),
]  # fmt: skip


def zeros(size):
    """A stream that packs a thousandfold."""
    return gzip.compress(bytes(size))


def words_then_safetensors():
    header = b'{"embedding":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]}}'
    return struct.pack("<Q", len(header)) + header + bytes(4)
