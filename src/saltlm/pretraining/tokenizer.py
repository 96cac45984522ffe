"""A tokenizer trained on a corpus, which gives every text back letter for letter.

All kinds spell text in the byte alphabet, so none has an unknown character, and cut it into words
that begin with their space, letters together with their marks, digits one by one.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, processors, trainers
from tokenizers.pre_tokenizers import ByteLevel

from saltlm.errors import VocabularyError
from saltlm.files.progress import progress
from saltlm.pretraining.config import Arch, TokenizerKind
from saltlm.tokenizer.counts import count_tokens
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.losses import in_words, losses
from saltlm.tokenizer.probes import PROBES
from saltlm.tokenizer.spacing import isolated
from saltlm.tokenizer.special_tokens import SpecialTokens

MOST_TOKENS = 32_000
"""More are not chosen."""

# Every part is of at most 100 characters, since WordPiece gives up on words of over 1,000 letters.
_PARTS = isolated(
    r" ?[\p{L}\p{M}\x{200C}\x{200D}]{1,100}|\p{N}| ?[^\s\p{L}\p{M}\p{N}]{1,100}"
    r"|\s{1,100}(?!\S)|\s{1,100}"
)
_LETTERS = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
_CUT = {"type": "Sequence", "pretokenizers": [_PARTS, {**_LETTERS, "use_regex": False}]}
_MOST_LETTERS = 1000
_SEEDS = 1  # times the size: what a Unigram model chooses from, beyond that size
_SHRINKING = (2.0, 1.5, 1.2, 1.0, 1.0)  # times the wanted pieces, from round to round

_ROLES: dict[Arch, dict[str, str]] = {
    "gpt": {"eos": "<|endoftext|>", "pad": "<|pad|>"},
    "bert": {
        "pad": "[PAD]",
        "unk": "[UNK]",
        "cls": "[CLS]",
        "sep": "[SEP]",
        "mask": "[MASK]",
    },
    "t5": {"pad": "<pad>", "eos": "</s>", "unk": "<unk>"},
}
SENTINELS = tuple(f"<extra_id_{number}>" for number in range(100))
"""What a t5 writes for a hidden span, as T5 itself does."""


@dataclass(frozen=True)
class TrainedTokenizer:
    """A tokenizer and its special tokens.

    Attributes:
        definition: of the tokenizer.
        special: its special tokens by role.
    """

    definition: Definition
    special: SpecialTokens

    @property
    def roles(self) -> dict[str, int]:
        """Role -> id."""
        ids = self.definition.ids
        return {role: ids[token] for role, token in self.special.roles.items() if token}


def train_tokenizer(
    arch: Arch,
    kind: TokenizerKind,
    texts: Callable[[], Iterable[str]],
    *,
    size: int | None,
    min_frequency: int,
) -> TrainedTokenizer:
    """Train a tokenizer for an architecture.

    Args:
        arch: whose special tokens it gets.
        kind: of its model.
        texts: begins a new pass over the documents.
        size: tokens, special ones included; None: all merges that occur ``min_frequency`` times
            make one, but no more than `MOST_TOKENS`.
        min_frequency: with ``size`` None.

    Raises:
        VocabularyError: the corpus has fewer pieces than asked for, or a text does not come back.
    """
    special = [*_ROLES[arch].values(), *(SENTINELS if arch == "t5" else ())]
    trained = None
    if size is None:
        trained = _trained(_byte_pairs(special, MOST_TOKENS, min_frequency), texts())
        size = trained.get_vocab_size()
    if trained is None or kind != "bpe":
        trained = _TRAIN[kind](special, size, texts)
    found = trained.get_vocab_size()
    if found < size:
        raise VocabularyError(
            f"the corpus has {found:,} pieces, fewer than the {size:,} tokens asked for",
            f"give more text, or --vocab-size {found}",
        )
    return with_special_tokens(Definition.of(trained), arch)


def with_special_tokens(
    definition: Definition, arch: Arch, probes: Mapping[str, str] = PROBES
) -> TrainedTokenizer:
    """Return a tokenizer with the special tokens of an architecture, those it lacks at its end.

    Args:
        definition: of the tokenizer.
        arch: the architecture.
        probes: texts that it is to give back.

    Raises:
        VocabularyError: a text does not come back letter for letter.
    """
    roles, tokenizer = dict(_ROLES[arch]), definition.build()
    special = [*roles.values(), *(SENTINELS if arch == "t5" else ())]
    if definition.spells_everything:  # and there is nothing that it would stand for
        roles.pop("unk", None)
        special = [token for token in special if token != _ROLES[arch].get("unk")]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    if arch == "gpt":  # nothing is put around a text
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    else:
        first, last = roles.get("cls", ""), roles.get("sep", roles.get("eos"))
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{first} $A {last}".strip(),
            pair=f"{first} $A {last} $B {last}".strip(),
            special_tokens=[
                (token, tokenizer.token_to_id(token)) for token in (first, last) if token
            ],
        )
    if found := losses(tokenizer, probes):
        raise VocabularyError(
            f"the new tokenizer would not give back {in_words(found)}",
            "leave --continue-tokenizer out, or report this with the options",
        )
    special_tokens = SpecialTokens({role: token for role, token in roles.items()}, tuple(special))
    return TrainedTokenizer(Definition.of(tokenizer), special_tokens)


def _trained(make: tuple[Any, Any], texts: Iterable[str]) -> Tokenizer:
    """Return a tokenizer whose model was trained on texts."""
    model, trainer = make
    tokenizer = Tokenizer(model)
    definition = Definition.of(tokenizer).replace(pre_tokenizer=_CUT)
    tokenizer = definition.build()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(_shown(texts), trainer)
    return tokenizer


def _shown(texts: Iterable[str]) -> Iterator[str]:
    yield from progress(texts, desc="train tokenizer", unit=" documents")


def _unknown(special: list[str]) -> str | None:
    """Return what stands for letters that are not known, although there are none."""
    return next((token for token in special if token in ("[UNK]", "<unk>")), None)


def _settings(special: list[str], size: int) -> dict[str, Any]:
    return {
        "vocab_size": size,
        "special_tokens": special,
        "initial_alphabet": ByteLevel.alphabet(),
        "show_progress": False,
    }


def _byte_pairs(special: list[str], size: int, min_frequency: int) -> tuple[Any, Any]:
    trainer = trainers.BpeTrainer(**_settings(special, size), min_frequency=min_frequency)
    return models.BPE(), trainer


def _bpe(special: list[str], size: int, texts: Callable[[], Iterable[str]]) -> Tokenizer:
    return _trained(_byte_pairs(special, size, 2), texts())


def _wordpiece(special: list[str], size: int, texts: Callable[[], Iterable[str]]) -> Tokenizer:
    model = models.WordPiece(
        unk_token=_unknown(special) or "[UNK]", max_input_chars_per_word=_MOST_LETTERS
    )
    # Words begin with their space, so that what goes on needs no mark of its own.
    trainer = trainers.WordPieceTrainer(
        **_settings(special, size), min_frequency=2, continuing_subword_prefix=""
    )
    definition = Definition.of(_trained((model, trainer), texts()))
    return definition.with_model(continuing_subword_prefix="").build()


def _unigram(special: list[str], size: int, texts: Callable[[], Iterable[str]]) -> Tokenizer:
    """Return a Unigram model over byte pairs, by hard EM: the best cuts give the next scores.

    Not by the library's own trainer: with that, the same text gives other pieces in every run.
    """
    trained = _trained(_byte_pairs(special, size + size * _SEEDS, 2), texts())
    definition = Definition.of(trained)
    letters = ByteLevel.alphabet()
    n_pieces = size - len(special) - len(letters)
    pieces = sorted({*definition.model["vocab"]} - {*special, *letters}, key=lambda p: (len(p), p))
    counts = dict.fromkeys([*pieces, *letters], 1)
    for share in _SHRINKING:
        kept = sorted(pieces, key=lambda piece: (-counts[piece], piece))
        pieces = kept[: round(n_pieces * share)]
        definition = _unigram_of(definition, special, {p: counts[p] for p in [*pieces, *letters]})
        found = count_tokens(definition.tokenizer, texts()).tolist()
        counts = {piece: found[id] for piece, id in definition.ids.items()}
    kept = sorted(pieces, key=lambda piece: (-counts[piece], piece))
    return _unigram_of(definition, special, {p: counts[p] for p in [*kept, *letters]}).build()


def _unigram_of(definition: Definition, special: list[str], counts: dict[str, int]) -> Definition:
    """Return the model in which a piece scores the logarithm of its share of all tokens."""
    total = sum(counts.values())
    scores = {p: round(math.log(max(count, 0.1) / total), 6) for p, count in counts.items()}
    ordered = sorted(scores, key=lambda piece: (-scores[piece], piece))
    vocab = [*([token, 0.0] for token in special), *([piece, scores[piece]] for piece in ordered)]
    unknown = _unknown(special)
    unk = None if unknown is None else special.index(unknown)
    model = {"type": "Unigram", "unk_id": unk, "vocab": vocab, "byte_fallback": False}
    return definition.replace(model=model)


_TRAIN: dict[TokenizerKind, Callable[..., Tokenizer]] = {
    "bpe": _bpe,
    "wordpiece": _wordpiece,
    "unigram": _unigram,
}
