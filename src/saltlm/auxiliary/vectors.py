"""SALT step 1: the auxiliary vector f(v) of every PLM token, and whether it has one.

There are three origins: the PLM's own rows (`plm`), fastText trained on a corpus (`train`), and a
file of vectors (`vectors:FILE`), whose kind is found in the file. `fasttext:FILE.bin` is the same,
and says that a fastText model is meant.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from saltlm.auxiliary.fasttext_training import (
    binding_version,
    check_training,
    train_fasttext,
    words_of,
)
from saltlm.auxiliary.recognise import NAMES, kind_of
from saltlm.auxiliary.subwords import SubwordModel, seen_in_training, token_vectors
from saltlm.auxiliary.vector_file import check_vector_file, files_of, read_words, subword_model
from saltlm.config.transfer import FasttextConfig
from saltlm.errors import AuxiliaryVectorsError, ConfigError, quoted
from saltlm.files.caches import cache_folder
from saltlm.files.documents import check_corpus
from saltlm.files.leftovers import aside, remove_dead
from saltlm.files.source import fingerprint
from saltlm.models.checkpoint import largest_in_rows

logger = logging.getLogger(__name__)

CHOICES = "plm | train | fasttext:FILE.bin | vectors:FILE"
_CACHE_LAYOUT = 1  # part of the key: raise it when what a cached file means changes


@dataclass(frozen=True)
class AuxiliaryVectors:
    """Where each PLM token lies in the space in which neighbours are sought.

    Attributes:
        matrix: one row per PLM id; rows that are not represented mean nothing.
        represented: False where there is no vector: the token's new row is sampled.
        description: what the manifest and the log say about the vectors.
    """

    matrix: Float[Tensor, "v_t d"]
    represented: Bool[Tensor, " v_t"]
    description: str


def parse_auxiliary_spec(spec: str) -> tuple[str, Path | None]:
    """Split `--aux` into its origin and, for `fasttext` and `vectors`, the file.

    Raises:
        ConfigError: it is none of the four choices.
    """
    origin, colon, file = spec.partition(":")
    if spec in ("plm", "train"):
        return spec, None
    if origin in ("fasttext", "vectors") and file:
        return origin, Path(file).expanduser()
    named = next((name for name in (spec, file) if name and Path(name).expanduser().exists()), None)
    hint = f"--aux takes {CHOICES}" if named is None else f"--aux {quoted(f'vectors:{named}')}"
    raise ConfigError(f"unknown auxiliary vectors {spec!r}", hint)


def check_auxiliary_spec(spec: str, corpus: Sequence[Path] = ()) -> None:
    """Check what `--aux` names, in seconds at most, before anything else is spent.

    Raises:
        ConfigError: an unknown choice, or no corpus text to train on.
        AuxiliaryVectorsError: the file is missing, damaged or of another format.
        MissingExtraError: `train` without the extra.
    """
    origin, file = parse_auxiliary_spec(spec)
    if origin == "train":
        check_training()
        check_corpus(corpus)
    elif file:
        check_vector_file(file)


def auxiliary_vectors(
    spec: str,
    plm_embedding: Float[Tensor, "v_t h_t"],
    strings: Sequence[str | None],
    *,
    corpus: Sequence[Path] = (),
    settings: FasttextConfig | None = None,
    seed: int = 0,
    tokenizer: Tokenizer | None = None,
    cache_dir: Path | None = None,
) -> AuxiliaryVectors:
    """Return the vectors that `--aux` asks for.

    Args:
        spec: `plm`, `train`, `fasttext:FILE.bin` or `vectors:FILE`.
        plm_embedding: the PLM's rows.
        strings: the text of each PLM token without its word marker; None for a token without text
            of its own: special, or not valid UTF-8. The rows after the last string are padding.
        corpus: text files in the target language, for `train`.
        settings: of fastText, for `train`.
        seed: for `train`.
        tokenizer: for `train` on tokens: cuts the corpus, and ``strings`` are its own tokens.
        cache_dir: where `train` keeps its results.
    """
    strings = [*strings, *[None] * (len(plm_embedding) - len(strings))]
    origin, file = parse_auxiliary_spec(spec)
    if origin == "train":
        return train_auxiliary(
            corpus,
            strings,
            settings=settings or FasttextConfig(),
            seed=seed,
            tokenizer=tokenizer,
            cache_dir=cache_dir,
        )
    return from_plm(plm_embedding) if file is None else read_vectors(spec, strings)


def from_plm(plm_embedding: Float[Tensor, "v_t h_t"]) -> AuxiliaryVectors:
    """Take the PLM's own rows as they are: f(v) = E_t[v]."""
    return AuxiliaryVectors(
        plm_embedding,
        _has_direction(plm_embedding),
        f"the PLM's own rows, {plm_embedding.shape[1]}-d",
    )


def read_vectors(spec: str, strings: Sequence[str | None]) -> AuxiliaryVectors:
    """Return the vectors of `fasttext:FILE.bin` or `vectors:FILE`.

    Raises:
        ConfigError: it is neither.
        AuxiliaryVectorsError: the file cannot be used, or represents none of the tokens.
    """
    origin, file = parse_auxiliary_spec(spec)
    if file is None:
        raise ConfigError(
            f"{spec!r} names no file of vectors", "give vectors:FILE or fasttext:FILE.bin"
        )
    kind = kind_of(file)
    if origin == "fasttext" and kind != "fasttext":
        logger.info("%s is no fastText model but %s: taken as that", file, NAMES[kind])
    return from_file(file, strings)


def from_file(path: Path, strings: Sequence[str | None]) -> AuxiliaryVectors:
    """Compose the vectors from a model of subwords, or look the tokens up among words.

    Raises:
        AuxiliaryVectorsError: the file cannot be used, or represents none of the tokens.
    """
    model = subword_model(path)
    if model is not None:
        name = "fastText model" if model.floret is None else "floret vectors"
        return _compose(model, strings, f"{name} {path.name}")
    found = read_words(path, {string for string in strings if string})
    for note in found.notes:
        logger.warning("%s: %s", path, note)
    matrix = torch.zeros(len(strings), found.dimension)
    for index, string in enumerate(strings):
        if string in found.rows:
            matrix[index] = torch.from_numpy(found.rows[string])
    origin = f"vectors {path.name}, {found.dimension}-d, {found.n_words:,} words"
    return _describe(matrix, strings, origin, found.first_words)


def vector_files(spec: str) -> list[Path]:
    """Return the files that `--aux` names.

    Raises:
        ConfigError: it is none of the choices.
    """
    _, file = parse_auxiliary_spec(spec)
    return [] if file is None else files_of(file)


def train_auxiliary(
    corpus: Sequence[Path],
    strings: Sequence[str | None],
    *,
    settings: FasttextConfig,
    seed: int = 0,
    tokenizer: Tokenizer | None = None,
    cache_dir: Path | None = None,
) -> AuxiliaryVectors:
    """Train fastText on a corpus, or take what the same training gave before.

    The result is a function of the corpus' bytes, the settings, the seed and the version of the
    binding; these and the tokens name the file in the cache.

    Args:
        corpus: texts; see `saltlm.files.documents`.
        strings: as in `auxiliary_vectors`.
        settings: of fastText.
        seed: of fastText.
        tokenizer: as in `auxiliary_vectors`.
        cache_dir: `~/.cache/saltlm/auxiliary` (or below `XDG_CACHE_HOME`) if not given.

    Raises:
        ConfigError: a corpus without text.
        MissingExtraError: the fasttext extra is not installed.
        AuxiliaryVectorsError: training fails, or represents none of the tokens.
    """
    check_training()
    check_corpus(corpus)
    key = _key(corpus, strings, settings, seed, tokenizer)
    file = (cache_dir or cache_folder("auxiliary")) / f"{key}.safetensors"
    cached = _load(file)
    if cached is not None:
        logger.info("auxiliary vectors from the cache: %s (%s)", cached.description, file)
        return cached
    cut = words_of if tokenizer is None else partial(_cut_tokens, tokenizer)
    model = train_fasttext(corpus, settings, seed, cut)
    origin = (
        f"fastText {settings.model} trained on {'the tokens of ' if tokenizer else ''}"
        f"{', '.join(path.name for path in corpus)} "
        f"({binding_version()}, {settings.epochs} epochs, seed {seed})"
    )
    if not settings.compose:
        known = set(model.words())
        strings = [string if string in known else None for string in strings]
    vectors = _compose(model, strings, origin)
    _save(vectors, file)
    return vectors


def _cut_tokens(tokenizer: Tokenizer, document: str) -> list[str]:
    tokens: list[str] = tokenizer.encode(document, add_special_tokens=False).tokens
    return tokens


def _compose(model: SubwordModel, strings: Sequence[str | None], origin: str) -> AuxiliaryVectors:
    ids = np.array([index for index, string in enumerate(strings) if string], dtype=np.int64)
    texts = [string for string in strings if string]
    seen = seen_in_training(model, texts)
    matrix = torch.zeros(len(strings), model.dimension)
    matrix[torch.from_numpy(ids[seen])] = torch.from_numpy(
        token_vectors(model, [text for text, is_seen in zip(texts, seen, strict=True) if is_seen])
    )
    size = f"{model.n_words:,} words" if model.n_words else f"{model.bucket:,} rows, no words"
    origin = f"{origin}, {model.dimension}-d, {size}"
    return _describe(matrix, strings, origin, list(islice(model.words(), 3)))


def _describe(
    matrix: Float[Tensor, "v_t d"],
    strings: Sequence[str | None],
    origin: str,
    first_words: Sequence[str],
) -> AuxiliaryVectors:
    """Finish vectors whose missing rows are zero."""
    represented = _has_direction(matrix)
    texts = [string for string in strings if string]
    if not represented.any():
        raise AuxiliaryVectorsError(
            f"none of the {len(texts):,} tokens (such as {_quote(texts)}) has a vector: {origin} "
            f"(such as {_quote(first_words)})",
            "use vectors of the PLM's language, or --aux plm without plm_vectors",
        )
    description = f"{origin}: {int(represented.sum()):,} of {len(texts):,} tokens represented"
    logger.info("auxiliary vectors: %s", description)
    return AuxiliaryVectors(matrix, represented, description)


def _quote(words: Sequence[str]) -> str:
    return ", ".join(map(repr, words[:3])) or "none"


def _has_direction(matrix: Float[Tensor, "v_t d"]) -> Bool[Tensor, " v_t"]:
    """Tell which rows have cosines: those that are finite and not zero."""
    largest = largest_in_rows(matrix)
    return largest.isfinite() & (largest != 0)


def _key(
    corpus: Sequence[Path],
    strings: Sequence[str | None],
    settings: FasttextConfig,
    seed: int,
    tokenizer: Tokenizer | None,
) -> str:
    parts = {
        "layout": _CACHE_LAYOUT,
        "binding": binding_version(),
        "settings": settings.model_dump(),
        "seed": seed,
        "corpus": [fingerprint(path) for path in corpus],
        "strings": list(strings),
        "tokenizer": None if tokenizer is None else tokenizer.to_str(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _load(file: Path) -> AuxiliaryVectors | None:
    remove_dead(file.parent)
    if not file.exists():
        return None
    try:
        with safe_open(file, framework="pt") as opened:
            represented = opened.get_tensor("represented")
            rows = opened.get_tensor("rows")
            description = opened.metadata()["description"]
        matrix = torch.zeros(len(represented), rows.shape[1])
        matrix[represented] = rows
        return AuxiliaryVectors(matrix, represented, description)
    except (SafetensorError, OSError, KeyError, TypeError, IndexError, RuntimeError) as error:
        logger.warning("ignoring the damaged cache file %s: %s", file, error)
        return None


def _save(vectors: AuxiliaryVectors, file: Path) -> None:
    """Keep the represented rows; a cache that cannot be written costs time, not the result."""
    tensors = {"represented": vectors.represented, "rows": vectors.matrix[vectors.represented]}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with aside(file.parent) as folder:
            save_file(tensors, folder / file.name, {"description": vectors.description})
            (folder / file.name).replace(file)
    except (SafetensorError, OSError) as error:
        logger.warning("the auxiliary vectors are not cached: %s", error)
