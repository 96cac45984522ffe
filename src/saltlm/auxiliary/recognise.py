"""What kind of vectors a file holds, by its content; and what to do with kinds that stay closed."""

import io
import pickletools
import shlex
import struct
import zipfile
from pathlib import Path
from typing import Literal

from saltlm.auxiliary.containers import beginning, to_stdout
from saltlm.auxiliary.fasttext_format import is_fasttext
from saltlm.auxiliary.floret_format import is_floret_table
from saltlm.auxiliary.spacy_format import spacy_folder
from saltlm.errors import AuxiliaryVectorsError, python_command, quoted

Kind = Literal["fasttext", "floret", "spacy", "words"]
NAMES: dict[Kind, str] = {
    "fasttext": "a fastText or floret model",
    "floret": "a floret table",
    "spacy": "spaCy's vectors",
    "words": "words with their vectors",
}
_START = 2**12
_GENSIM = {  # class -> how its words and vectors are written by gensim itself
    "KeyedVectors": "KeyedVectors.load({file!r}).save_word2vec_format({out!r})",
    "Word2VecKeyedVectors": "KeyedVectors.load({file!r}).save_word2vec_format({out!r})",
    "EuclideanKeyedVectors": "KeyedVectors.load({file!r}).save_word2vec_format({out!r})",
    "FastTextKeyedVectors": "KeyedVectors.load({file!r}).save_word2vec_format({out!r})",
    "Word2Vec": "Word2Vec.load({file!r}).wv.save_word2vec_format({out!r})",
    "Doc2Vec": "Doc2Vec.load({file!r}).wv.save_word2vec_format({out!r})",
    "FastText": "fasttext.save_facebook_model(FastText.load({file!r}), {out!r})",
}
_CLOSED = (  # first bytes, what it is, the way out
    (b"SQLite format 3\0", "a database (Magnitude's, perhaps)", "the .vec, .txt or .bin behind it"),
    (b"\x89HDF", "an HDF5 file", "the same vectors as text: Numberbatch has numberbatch-19.08.txt"),
    (b"PAR1", "a Parquet table", "a text file with a word and its numbers on each line"),
    (b"ARROW1", "an Arrow table", "a text file with a word and its numbers on each line"),
    (b"GGUF", "a GGUF model", "a file of word vectors; models go in as SOURCE or PLM"),
    (b"%PDF", "a PDF document", "a file of word vectors"),
)


def kind_of(path: Path) -> Kind:
    """Find out what a file or a folder of vectors is.

    Raises:
        AuxiliaryVectorsError: it cannot be read, or is of a kind that saltlm does not read.
    """
    if spacy_folder(path) is not None:
        return "spacy"
    if path.is_dir():
        raise AuxiliaryVectorsError(
            f"{path} is a folder without spaCy's vectors (vocab/vectors and vocab/key2row)",
            "name the file of vectors that is meant, or a model as PLM"
            if not (path / "config.json").exists()
            else f"a model is the PLM itself: saltlm transfer SOURCE {quoted(path)} --out DIR",
        )
    if path.is_file() and zipfile.is_zipfile(path):
        _refuse_arrays(path)
    start = beginning(path, _START)
    if is_fasttext(start):
        return "fasttext"
    if is_floret_table(start):
        return "floret"
    _refuse(path, start)
    return "words"


def _refuse(path: Path, start: bytes) -> None:
    if not start:
        raise AuxiliaryVectorsError(f"{path} is empty", "get the file again")
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise AuxiliaryVectorsError(
            f"{path} is UTF-16",
            f"write it as UTF-8: {to_stdout(path)} | iconv -f UTF-16 -t UTF-8 > "
            f"{shlex.quote(f'{path}.utf8')}",
        )
    if start[:1] == b"\x80" and start[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        raise _pickle(path, start)
    if start.startswith(b"\x93NUMPY"):
        raise _numpy(path)
    for mark, what, instead in _CLOSED:
        if start.startswith(mark):
            raise AuxiliaryVectorsError(f"{path} is {what}", f"give {instead}")
    if start[8:10] == b'{"' and struct.unpack("<Q", start[:8])[0] < 2**27:
        raise AuxiliaryVectorsError(
            f"{path} is a safetensors file, which holds no words",
            "a model is the PLM itself: saltlm transfer SOURCE FOLDER --out DIR",
        )


def _pickle(path: Path, start: bytes) -> AuxiliaryVectorsError:
    """Refuse a pickle, which may run any code when it is loaded; its first class is only named."""
    module, name = _first_class(start)
    out = str(path.with_suffix(".vec"))
    if module.startswith("gensim.") and name in _GENSIM:
        out = str(path.with_suffix(".bin")) if name == "FastText" else out
        call = _GENSIM[name].format(file=str(path), out=out)
        names = "fasttext, FastText" if name == "FastText" else call.partition(".")[0]
        return AuxiliaryVectorsError(
            f"{path} is a pickle of gensim's {name}; a pickle can run any code, so saltlm opens "
            "none",
            "if you trust it, let gensim write its vectors: "
            + python_command(f"from gensim.models import {names}; {call}"),
        )
    return AuxiliaryVectorsError(
        f"{path} is a Python pickle{f' of {module}.{name}' if name else ''}; a pickle can run any "
        "code, so saltlm opens none",
        "if you trust it and it is a dictionary of words, write it as text: "
        + python_command(
            "import pickle; [print(word, *row) for word, row in "
            f"pickle.load(open({str(path)!r}, 'rb')).items()]"
        )
        + f" > {shlex.quote(out)}",
    )


def _first_class(start: bytes) -> tuple[str, str]:
    """Return the module and the name of the first class in a pickle, without loading it."""
    strings: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(io.BytesIO(start)):
            if opcode.name == "GLOBAL":
                module, _, name = str(argument).partition(" ")
                return module, name
            if opcode.name == "STACK_GLOBAL" and len(strings) > 1:
                return strings[-2], strings[-1]
            if isinstance(argument, str):
                strings.append(argument)
    except ValueError:  # the start ends within an opcode
        pass
    return "", ""


def _numpy(path: Path) -> AuxiliaryVectorsError:
    """Refuse an array without words: beside gensim's file, or alone."""
    for owner in (path.with_suffix(""), path.with_suffix("").with_suffix("")):
        if owner != path and owner.is_file():
            return AuxiliaryVectorsError(
                f"{path} holds the numbers of {owner.name} beside it, without words",
                f"name that file: vectors:{owner}",
            )
    code = (
        "import numpy; [print(word.rstrip(), *row) for word, row in zip(open('words.txt', "
        f"encoding='utf-8'), numpy.load({str(path)!r}))]"
    )
    return AuxiliaryVectorsError(
        f"{path} is a numpy array, which holds no words",
        "with the words in words.txt, one a line, in the order of its rows: "
        f"{python_command(code)} > {shlex.quote(str(path.with_suffix('.vec')))}",
    )


def _refuse_arrays(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.endswith("data.pkl") for name in names):
        raise AuxiliaryVectorsError(
            f"{path} is a PyTorch pickle; a pickle can run any code, so saltlm opens none",
            "give a file of word vectors; a model is the PLM itself",
        )
    arrays = [name.removesuffix(".npy") for name in names if name.endswith(".npy")]
    if arrays and len(arrays) == len(names):
        first, second = (
            [*arrays, "words", "vectors"][:2] if len(arrays) > 1 else ("words", arrays[0])
        )
        code = (
            f"import numpy; d = numpy.load({str(path)!r}); "
            f"[print(word, *row) for word, row in zip(d[{first!r}], d[{second!r}])]"
        )
        raise AuxiliaryVectorsError(
            f"{path} holds numpy arrays ({', '.join(arrays[:5])})",
            f"if {first} are the words and {second} their vectors, write them as text: "
            f"{python_command(code)} > {shlex.quote(str(path.with_suffix('.vec')))}",
        )
