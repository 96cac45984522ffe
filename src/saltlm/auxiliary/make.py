"""``saltlm vectors``: fastText vectors trained on a text, or written from a file of any format."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from saltlm.auxiliary.fasttext_training import check_training, train_fasttext, words_of
from saltlm.auxiliary.subwords import SubwordModel, seen_in_training, token_vectors
from saltlm.auxiliary.vector_file import check_vector_file, read_words, subword_model
from saltlm.auxiliary.writing import (
    check_vectors_place,
    is_subword_file,
    write_subwords,
    write_text,
)
from saltlm.config.reading import given, read_values, validated
from saltlm.config.transfer import FasttextConfig
from saltlm.errors import AuxiliaryVectorsError, ConfigError, quoted
from saltlm.files.documents import check_corpus, documents
from saltlm.models.hub import resolve_model
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.load import load_tokenizer
from saltlm.tokenizer.special_tokens import read_special_tokens
from saltlm.tokenizer.vocabulary import read_vocabulary, spoken_text

Action = Literal["train", "convert"]


@dataclass(frozen=True, repr=False)
class VectorFile:
    """A file of vectors that was written.

    Attributes:
        file: it.
        n_words: words or tokens that it has a vector of their own for.
        dimension: width of the vectors.
        n_ngrams: rows of n-grams, from which others are composed; 0 in a list of words.
        n_wanted: words or tokens that were wanted; those without any known n-gram are left out.
    """

    file: Path
    n_words: int
    dimension: int
    n_ngrams: int
    n_wanted: int

    def __str__(self) -> str:
        ngrams = f", {self.n_ngrams:,} rows of n-grams" if self.n_ngrams else ""
        of = f" of {self.n_wanted:,} wanted" if self.n_wanted != self.n_words else ""
        return f"{self.file}: {self.n_words:,} words{of}, {self.dimension}-d{ngrams}"

    def __repr__(self) -> str:
        return f"VectorFile({self})"


def vectors(
    action: Action,
    file: str | Path | None = None,
    *,
    out: str | Path,
    corpus: str | Path | Sequence[str | Path] = (),
    tokenizer: str | Path | None = None,
    seed: int = 0,
    force: bool = False,
    config: FasttextConfig | str | Path | None = None,
    **options: Any,
) -> VectorFile:
    """Train fastText vectors on a corpus, or write those of a file anew and small.

    Training is on one thread, so the same corpus, options and seed give the same bytes on any
    machine. What is written goes into `--aux vectors:FILE`.

    Args:
        action: ``train`` or ``convert``.
        file: what is converted: fastText's, floret's, spaCy's, or a list of words.
        out: ``.vec`` or ``.vec.gz`` for a list of words, ``.bin`` for n-grams too.
        corpus: what is trained on; of a conversion, the words in it are wanted.
        tokenizer: a model directory or Hub id, whose tokens are wanted; in training they are what
            counts as a word. In a file they stand as their text, without the space before it.
        seed: of the training.
        force: replace ``out``.
        config: options of the training, or a YAML file of them.
        **options: fields of `FasttextConfig`, which win: ``dimension=100``, ``epochs=5``.

    Raises:
        SaltlmError: a file cannot be read or written, or training fails.
    """
    settings = validated(FasttextConfig, read_values(config, ()) | given(options))
    texts = [corpus] if isinstance(corpus, str | Path) else list(corpus)
    out = Path(out).expanduser()
    check_vectors_place(out, force=force)
    tokens = None if tokenizer is None else _Tokens.of(str(tokenizer))
    if action == "train":
        if file is not None:
            raise ConfigError(
                f"vectors are trained on text, not on {file}",
                f"--corpus {quoted(file)}, if it is text",
            )
        check_training()
        check_corpus(texts)
        model = train_fasttext(
            [Path(text) for text in texts],
            settings,
            seed,
            words_of if tokens is None else tokens.cut,
        )
        words = list(model.words()) if tokens is None else tokens.texts
        return _write(out, model, words)
    if file is None:
        raise ConfigError("there is no file to convert", "saltlm vectors convert FILE --out OUT")
    check_vector_file(Path(file))
    wanted = _wanted(texts, tokens)
    opened = subword_model(Path(file))
    if opened is not None and not opened.n_words and wanted is None:
        raise AuxiliaryVectorsError(
            f"{file} keeps no list of its words",
            "say which are wanted: --corpus FILE or --tokenizer DIR",
        )
    if opened is not None:
        return _write(out, opened, list(opened.words()) if wanted is None else wanted)
    if is_subword_file(out):
        raise AuxiliaryVectorsError(
            f"{file} is a list of words, of which no n-grams are known", "give --out a .vec"
        )
    found = read_words(Path(file), None if wanted is None else set(wanted))
    known = list(found.rows) if wanted is None else [word for word in wanted if word in found.rows]
    matrix = np.stack([found.rows[word] for word in known]) if known else np.zeros((0, 1))
    return _listed(out, known, matrix, len(known) if wanted is None else len(wanted))


def _write(out: Path, model: SubwordModel, words: Sequence[str]) -> VectorFile:
    """Write those of some words that a model represents."""
    seen = seen_in_training(model, words)
    known = [word for word, is_seen in zip(words, seen, strict=True) if is_seen]
    if not is_subword_file(out):
        return _listed(out, known, token_vectors(model, known), len(words))
    _check_some(known, len(words))
    n_ngrams = write_subwords(out, model, known)
    return VectorFile(out, len(known), model.dimension, n_ngrams, len(words))


def _listed(
    out: Path, words: Sequence[str], matrix: Float[np.ndarray, "n d"], n_wanted: int
) -> VectorFile:
    _check_some(words, n_wanted)
    write_text(out, words, matrix)
    return VectorFile(out, len(words), int(matrix.shape[1]), 0, n_wanted)


def _check_some(words: Sequence[str], n_wanted: int) -> None:
    if not words:
        raise AuxiliaryVectorsError(
            f"the vectors represent none of the {n_wanted:,} words that are wanted",
            "give vectors, a corpus or a tokenizer of the same language",
        )


def _wanted(texts: Sequence[str | Path], tokens: "_Tokens | None") -> list[str] | None:
    """Return the tokens, or the words of the texts, the most frequent ones first."""
    if tokens is not None:
        return tokens.texts
    if not texts:
        return None
    counts = Counter(word for text in documents(texts) for word in words_of(text))
    return [word for word, _ in counts.most_common()]


@dataclass(frozen=True)
class _Tokens:
    """The tokens of a tokenizer as texts, without the space before them.

    Attributes:
        texts: each once, in the order of the ids.
        cut: gives those of a document.
    """

    texts: list[str]
    cut: Callable[[str], list[str]]

    @classmethod
    def of(cls, name: str) -> "_Tokens":
        directory = resolve_model(name, with_weights=False)
        tokenizer = load_tokenizer(directory)
        special = read_special_tokens(directory, tokenizer).tokens
        forms = read_vocabulary(Definition.of(tokenizer), special=special).forms
        spoken = [None if form is None else spoken_text(form) for form in forms]
        texts = [text.strip() if text else "" for text in spoken]
        texts = [text if len(text.split()) == 1 else "" for text in texts]
        return cls(list(dict.fromkeys(filter(None, texts))), partial(_cut, tokenizer, texts))


def _cut(tokenizer: Any, texts: Sequence[str], document: str) -> list[str]:
    ids: list[int] = tokenizer.encode(document, add_special_tokens=False).ids
    return [text for id in ids if (text := texts[id])]
