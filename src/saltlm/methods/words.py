"""WECHSEL and OFA: the softmax mean of the source rows nearest in a space of word vectors."""

import itertools
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float, Int64
from pydantic import Field
from tokenizers import Tokenizer
from torch import Tensor

from saltlm.auxiliary.subwords import SubwordModel, seen_in_training, token_vectors
from saltlm.auxiliary.vector_file import read_words, subword_model
from saltlm.errors import AuxiliaryVectorsError, ConfigError
from saltlm.methods.inputs import Fitted, MethodInputs, Rows, combination, explained
from saltlm.methods.linear_algebra import CHUNK, gram
from saltlm.methods.neighbours import Neighbours
from saltlm.methods.sampled import random
from saltlm.methods.spaces import NeighbourCount, k_nearest
from saltlm.tokenizer.vocabulary import Form

Temperature = Annotated[float, Field(gt=0, description="what cosines are divided by")]


@dataclass(frozen=True)
class TextsInVectors:
    """One vocabulary beside a file of word vectors."""

    file: Path
    tokenizer: Tokenizer
    ids: Sequence[int]
    forms: Sequence[Form | None]


def wechsel(
    inputs: MethodInputs,
    *,
    source_vectors: Annotated[Path | None, Field(description="of the source's language")] = None,
    target_vectors: Annotated[Path | None, Field(description="of the target language")] = None,
    dictionary: Annotated[
        Path | None, Field(description="a source and a target word a line; none: aligned already")
    ] = None,
    k: NeighbourCount = 10,
    temperature: Temperature = 0.1,
) -> Fitted:
    """Return the softmax mean of the nearest of all source tokens (WECHSEL, Minixhofer 2022).

    Word vectors are fastText models (``.bin``), which give each token's text its vector, or text
    files, where a token's vector is the mean of the words that have it among their pieces. Such
    files hold no counts, so a word counts as 1 / its rank. Tokens without a vector are drawn.
    The original makes shared tokens anew, too: that is the transfer's ``copy_shared=false``.

    Raises:
        ConfigError: a file is missing, or the inputs have no texts.
        AuxiliaryVectorsError: a file cannot be used, or the dictionary has nothing in common with
            the vectors.
    """
    texts = inputs.read_texts("wechsel")
    source_file = _given("wechsel", "source_vectors", source_vectors)
    target_file = _given("wechsel", "target_vectors", target_vectors)
    ids = inputs.source_ids.tolist()
    ids = [id for id in ids if id < len(texts.source_forms)]
    forms = [texts.source_forms[id] for id in ids]
    source = _token_vectors(
        TextsInVectors(source_file, texts.source.tokenizer, ids, forms), zipf=True
    )
    target = _token_vectors(
        TextsInVectors(target_file, texts.plm.tokenizer, texts.new_plm_ids, texts.new_forms),
        zipf=True,
    )
    if dictionary is not None:
        source = source @ _rotation(dictionary, source_file, target_file)
    return _softmax_mean(inputs, torch.tensor(ids), source, target, k, temperature)


def ofa(
    inputs: MethodInputs,
    *,
    vectors: Annotated[
        Path | None, Field(description="of words of both languages, in one space; none: --aux")
    ] = None,
    k: NeighbourCount = 10,
    temperature: Temperature = 0.1,
    rank: Annotated[
        int | None, Field(ge=1, description="of the factorised source table; none: its width")
    ] = None,
) -> Fitted:
    """Return the softmax mean of the k nearest, in a table of lower rank (OFA, Liu et al. 2024).

    With ``vectors`` the nearest are sought among all source tokens, as in the original, whose
    vectors (ColexNet+) are written ``lang:word`` with ``$`` at a word's ends. Without it they are
    sought among the shared tokens in the auxiliary space. With a ``rank`` rows are made of the
    source's coordinates along the table's leading singular vectors.

    Raises:
        ConfigError: ``vectors`` for inputs without texts.
        AuxiliaryVectorsError: the file cannot be used.
    """
    if vectors is None:
        found = k_nearest(inputs.aux_new, inputs.aux_shared, k)
        fitted = explained(inputs, found, _softmax(found, temperature))
    else:
        texts = inputs.read_texts("ofa")
        ids = [id for id in inputs.source_ids.tolist() if id < len(texts.source_forms)]
        forms = [texts.source_forms[id] for id in ids]
        source = _token_vectors(
            TextsInVectors(vectors, texts.source.tokenizer, ids, forms), multilingual=True
        )
        target = _token_vectors(
            TextsInVectors(vectors, texts.plm.tokenizer, texts.new_plm_ids, texts.new_forms),
            multilingual=True,
        )
        fitted = _softmax_mean(inputs, torch.tensor(ids), source, target, k, temperature)
    return fitted if rank is None else replace(fitted, fill=_of_rank(fitted, inputs, rank))


def _of_rank(
    fitted: Fitted, inputs: MethodInputs, rank: int
) -> Callable[[Float[Tensor, "v_s h"]], Rows]:
    def fill(table: Float[Tensor, "v_s h"]) -> Rows:
        leading = torch.linalg.eigh(gram(table, inputs.source_ids)).eigenvectors[:, -rank:].float()
        rows = fitted.fill(torch.cat([part.float() @ leading for part in table.split(CHUNK)]))
        return lambda part: rows(part) @ leading.T

    return fill


def _softmax_mean(
    inputs: MethodInputs,
    ids: Int64[Tensor, " s"],
    source: Float[Tensor, "s d"],
    target: Float[Tensor, "m d"],
    k: int,
    temperature: float,
) -> Fitted:
    """Return the softmax mean over source tokens; what has no vector is drawn."""
    is_known = source.any(1)
    found = k_nearest(target, source[is_known], k)
    fill = combination(ids[is_known], found, _softmax(found, temperature))
    missing = ~target.any(1)
    if not missing.any():
        return Fitted(fill)
    drawn = random(inputs).fill

    def with_drawn(table: Float[Tensor, "v_s h"]) -> Rows:
        known, unknown = fill(table), drawn(table)
        return lambda part: torch.where(missing[part].unsqueeze(1), unknown(part), known(part))

    return Fitted(with_drawn)


def _softmax(found: Neighbours, temperature: float) -> Float[Tensor, " nnz"]:
    """Return the weights of neighbourhoods that are all of one size."""
    if not len(found.k):
        return found.weights
    return (found.cosines.view(len(found.k), -1) / temperature).softmax(1).flatten()


def _token_vectors(
    given: TextsInVectors, *, zipf: bool = False, multilingual: bool = False
) -> Float[Tensor, "tokens d"]:
    """Return the vectors of a vocabulary's tokens; those without one are zero.

    Args:
        given: the vocabulary and the file.
        zipf: weigh words by 1 / rank rather than equally.
        multilingual: words are written as ColexNet+ does; see `_spellings`.
    """
    model = subword_model(given.file)
    if model is not None:
        return _composed(given, model)
    words = read_words(given.file, None).rows
    matrix = torch.from_numpy(np.stack(list(words.values())))
    weights = 1 / torch.arange(1, len(words) + 1) if zipf else torch.ones(len(words))
    place = {id: row for row, id in enumerate(given.ids)}
    total, weight = torch.zeros(len(place), matrix.shape[1]), torch.zeros(len(place))
    spellings = _spellings if multilingual else _with_space
    for texts in zip(*map(spellings, words), strict=True):
        encodings = given.tokenizer.encode_batch(texts, add_special_tokens=False)
        pairs = [
            (place[id], word)
            for word, encoding in enumerate(encodings)
            for id in set(encoding.ids)
            if id in place
        ]
        token, word = torch.tensor(pairs, dtype=torch.int64).view(-1, 2).T
        total.index_add_(0, token, matrix[word] * weights[word].unsqueeze(1))
        weight.index_add_(0, token, weights[word])
    return total / weight.clamp_min(1e-30).unsqueeze(1)


def _with_space(word: str) -> tuple[str, ...]:
    return word, " " + word


def _spellings(word: str) -> tuple[str, ...]:
    """Return the texts that OFA cuts for ``lang:word`` with ``$`` at the ends of the word.

    As it is, behind a blank, and with a capital: without its blank if it begins a word, else with
    one. English words may lack the language.
    """
    text = (word[4:] if word[3:4] == ":" and len(word) > 4 else word).replace("$", " ")
    is_start = text.startswith(" ")
    capital = text[1:2].upper() + text[2:] if is_start else f" {text[:1].upper()}{text[1:]}"
    return text, " " + text, capital


def _composed(given: TextsInVectors, model: SubwordModel) -> Float[Tensor, "tokens d"]:
    """Return the vectors that fastText gives to the tokens' texts."""
    texts = [
        (form.text.decode(errors="ignore").strip() if form is not None else "")
        for form in given.forms
    ]
    vectors = torch.from_numpy(token_vectors(model, texts))
    seen = torch.from_numpy(seen_in_training(model, texts))
    return vectors * (seen & torch.tensor([bool(text) for text in texts])).unsqueeze(1)


def _rotation(dictionary: Path, source_file: Path, target_file: Path) -> Float[Tensor, "d d"]:
    """Return the orthogonal map of source vectors onto those of their translations.

    A pair counts as often as it is found in both files as it is, in lower and in title case.
    """
    pairs = [
        pair
        for source, target in _read_dictionary(dictionary)
        for pair in itertools.product(_cases(source), _cases(target))
    ]
    source = _words_in(source_file, {word for word, _ in pairs})
    target = _words_in(target_file, {word for _, word in pairs})
    both = [(source[a], target[b]) for a, b in pairs if a in source and b in target]
    if not both:
        raise AuxiliaryVectorsError(
            f"none of the {len(pairs) // 9} pairs of {dictionary} is in both {source_file} and "
            f"{target_file}",
            "a line is a source word, a tab and its translation",
        )
    left, right = (torch.from_numpy(np.stack(rows)).double() for rows in zip(*both, strict=True))
    if left.shape[1] != right.shape[1]:
        raise AuxiliaryVectorsError(
            f"{source_file} has {left.shape[1]} dimensions, {target_file} {right.shape[1]}",
            "give two files of the same width",
        )
    u, _, v = torch.linalg.svd(left.T @ right)
    rotation: Tensor = u @ v
    return rotation.float()


def _cases(word: str) -> tuple[str, str, str]:
    return word, word.lower(), word.title()


def _read_dictionary(path: Path) -> Iterable[tuple[str, str]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the dictionary {path} cannot be read: {error}",
            "a dictionary is UTF-8 text; a line is a source word, a tab and its translation",
        ) from error
    for number, line in enumerate(lines, start=1):
        words = line.split("\t") if "\t" in line else line.split()
        if len(words) != 2:
            raise ConfigError(
                f"{path}, line {number}: {line!r} is not a pair of words",
                "a line is a source word, a tab and its translation",
            )
        yield words[0].strip(), words[1].strip()


def _words_in(path: Path, words: Collection[str]) -> dict[str, Float[np.ndarray, " d"]]:
    """Return the vectors of those words that the file itself has."""
    model = subword_model(path)
    if model is None:
        return read_words(path, words).rows
    known = [word for word in model.words() if word in words]
    return dict(zip(known, token_vectors(model, known), strict=True))


def _given(method: str, option: str, path: Path | None) -> Path:
    if path is None:
        raise ConfigError(
            f"{method} needs word vectors of both languages, and {option} is not given",
            f"--method {method}:source_vectors=FILE:target_vectors=FILE:dictionary=FILE",
        )
    return path
