"""What a pair of models promises, before anything is spent on it."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from tokenizers import Tokenizer
from torch import Tensor

from saltlm.alignment.align import Alignment
from saltlm.config.recommended import in_one_line_each, load_recommended
from saltlm.config.transfer import TransferConfig
from saltlm.files.documents import first
from saltlm.methods.registry import parse_method
from saltlm.models.token_tables import Tables
from saltlm.record.verdicts import is_loud
from saltlm.tokenizer.fertility import Fertility
from saltlm.tokenizer.kinds import script_of, token_kind
from saltlm.tokenizer.losses import in_words, new_losses
from saltlm.tokenizer.target import role_table
from saltlm.tokenizer.vocabulary import SPECIAL, Vocabulary
from saltlm.vocabulary_transfer.estimate import (
    expected_memory,
    expected_seconds,
    expected_training,
    tell_reading,
)
from saltlm.vocabulary_transfer.parents import Parent
from saltlm.vocabulary_transfer.prepare import read_pair
from saltlm.vocabulary_transfer.result import note_of_one_row

_MAX_DOCUMENTS = 5000  # of the corpus are looked at
_BLOCK = 8192  # rows looked at together
_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # of a number, by its size in bytes


@dataclass(frozen=True)
class OnText:
    """What a tokenizer makes of the corpus.

    Attributes:
        tokens_per_word: fertility; a word stands between white space.
        bytes_per_token: UTF-8 bytes of the text per token.
        round_trip: share of the documents that come back letter for letter, white space included.
        lost: share of the bytes of UTF-8 that do not come back.
    """

    tokens_per_word: float
    bytes_per_token: float
    round_trip: float
    lost: float


@dataclass(frozen=True)
class Vocabularies:
    """How many tokens fall where.

    Attributes:
        n_new_model: tokens of the new vocabulary.
        n_shared: of those, how many copy a row of the source's and have one of the PLM's (special
            tokens not counted).
        n_new: of those, how many have a row of the PLM's only.
        shared_by_kind: kind of token -> (shared, shared and new).
        shared_by_script: script -> (shared, shared and new).
    """

    n_new_model: int
    n_shared: int
    n_new: int
    shared_by_kind: dict[str, tuple[int, int]]
    shared_by_script: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class SideReport:
    """One of the two models."""

    name: str
    family: str
    n_tokens: int
    n_rows: int
    n_padding_rows: int
    width: int
    on_corpus: OnText | None


@dataclass(frozen=True, repr=False)
class Inspection:
    """Everything `saltlm inspect` has to say.

    Attributes:
        source: the LLM.
        plm: the target-language model.
        vocabularies: how the two overlap.
        new_on_corpus: what the new model's tokenizer makes of the corpus; None without one.
        coverage: share of the corpus' tokens, of that tokenizer, that copy a row; likewise.
        roles: (role, token, new id, source id, note) of every special token.
        zero_rows: source ids whose row is zero.
        repeated_rows: source ids whose row equals that of a lower id.
        memory_bytes: expected peak of a transfer.
        seconds: expected duration on this machine when it is idle, reading included.
        warnings: what to mend before going on, if it can be.
        notes: what else to know.
        chosen: what a preset chose, why, and how to have it otherwise, a line each.
        seen: how often a new token occurs in one pass over the text that was looked at, or in the
            budget, on average; None without a text or without new tokens.
        training: tokens of the training that new tokens were chosen for, and the seconds that it
            takes on this machine; None unless ``vocabulary=auto``.
        budget: how many new tokens were chosen for a budget of training, and what they save, as in
            the manifest; None unless ``vocabulary=auto``.
    """

    source: SideReport
    plm: SideReport
    vocabularies: Vocabularies
    new_on_corpus: OnText | None
    coverage: float | None
    roles: tuple[tuple[Any, ...], ...]
    zero_rows: tuple[int, ...]
    repeated_rows: tuple[int, ...]
    memory_bytes: int
    seconds: float
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()
    chosen: tuple[str, ...] = ()
    seen: float | None = None
    training: tuple[int, float] | None = None
    budget: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    def __repr__(self) -> str:
        shared, new = self.vocabularies.n_shared, self.vocabularies.n_new
        parts = [f"{shared:,} of {shared + new:,} tokens of the PLM shared"]
        if self.new_on_corpus and self.source.on_corpus and self.coverage is not None:
            before, after = self.source.on_corpus, self.new_on_corpus
            parts.append(f"{self.coverage:.1%} of the corpus' tokens copy a row")
            parts.append(
                f"{after.tokens_per_word:.2f} tokens a word instead of {before.tokens_per_word:.2f}"
            )
        parts.append(f"about {self.seconds:.0f} s and {self.memory_bytes / 2**30:.1f} GiB")
        warnings = "".join(f"\n  warning: {warning}" for warning in self.warnings)
        return f"Inspection({self.source.name} with {self.plm.name}: {'; '.join(parts)}){warnings}"


def inspect(
    source: str | Path,
    plm: str | Path,
    *,
    config: TransferConfig | str | Path | None = None,
    **options: Any,
) -> Inspection:
    """Return what a transfer between two models promises.

    Reads the tokenizers and the embedding tables, and writes nothing. Of the corpus, the first
    5,000 documents are looked at.

    Args:
        source: Hub id or directory of the LLM.
        plm: Hub id or directory of the target-language model.
        config: options of the transfer that is being considered, or a YAML file of them.
        **options: fields of `TransferConfig`, which win: ``corpus="german.txt"``, ...

    Raises:
        SaltlmError: the pair cannot be transferred, for the reason given.
    """
    config = load_recommended(config, **options)
    tell_reading(config)
    begun = time.perf_counter()
    pair = read_pair(source, plm, config, keeps_cut=True)
    read_seconds = time.perf_counter() - begun
    texts = first(config.corpus, _MAX_DOCUMENTS) if config.corpus else []
    left, right, alignment = pair.source, pair.plm, pair.alignment
    tables, plm_tables = pair.tables, pair.plm_tables
    zero, repeated = suspicious_rows(tables.embedding[: len(alignment.source)])
    tokenizers = (left.tokenizer, right.tokenizer, alignment.target.tokenizer)
    cut = [one.documents() for one in pair.cut or ()]
    on_text = [_on_text(*one, texts) for one in zip(tokenizers, cut, strict=True)]
    vocabularies, used = _overlap(alignment), Counter(chain.from_iterable(cut[2]))
    coverage = _coverage(alignment, used)
    return Inspection(
        source=_report(left, alignment.source, tables, on_text[0]),
        plm=_report(right, alignment.plm, plm_tables, on_text[1]),
        vocabularies=vocabularies,
        new_on_corpus=on_text[2],
        coverage=coverage,
        roles=tuple(map(tuple, role_table(alignment.target))),
        zero_rows=tuple(zero.tolist()),
        repeated_rows=tuple(repeated.tolist()),
        memory_bytes=expected_memory(pair, config),
        seconds=read_seconds + expected_seconds(pair, config, texts),
        notes=(
            *(note for note in alignment.target.notes if not is_loud(note)),
            *note_of_one_row(tables, parse_method(config.method)),
        ),
        seen=_seen(vocabularies, coverage, config.budget or used.total()),
        warnings=tuple(_warnings(alignment, config, vocabularies, on_text[2], zero)),
        chosen=tuple(in_one_line_each(config)),
        training=expected_training(pair),
        budget=alignment.record.get("budget"),
    )


def suspicious_rows(
    table: Float[Tensor, "rows h"],
) -> tuple[Int64[Tensor, " zero"], Int64[Tensor, " repeated"]]:
    """Return the ids of zero rows, and of rows that equal one of a lower id."""
    is_zero, keys = [], []
    generator = torch.Generator().manual_seed(0)
    mix = torch.randint(-(2**62), 2**62, (table.shape[1],), generator=generator)
    for part in table.split(_BLOCK):
        is_zero.append(~(part != 0).any(1))
        # A hash of the row's bits: equal rows have equal sums, which may wrap. Converted to a wider
        # float first, the numbers would end in zeros, and so would the sums.
        keys.append((part.contiguous().view(_BITS[part.element_size()]).long() * mix).sum(1))
    zero, key = torch.cat(is_zero), torch.cat(keys)
    order = key.argsort(stable=True)
    is_repeat = torch.zeros_like(zero)
    is_repeat[order[1:]] = key[order][1:] == key[order][:-1]
    return zero.nonzero().squeeze(1), (is_repeat & ~zero).nonzero().squeeze(1)


def _report(
    parent: Parent, vocabulary: Vocabulary, tables: Tables, on_corpus: OnText | None
) -> SideReport:
    rows, width = tables.embedding.shape
    tokens = len(vocabulary)
    return SideReport(
        parent.name, vocabulary.family, tokens, rows, max(0, rows - tokens), width, on_corpus
    )


def _on_text(tokenizer: Tokenizer, ids: Sequence[list[int]], texts: Sequence[str]) -> OnText | None:
    if not texts:
        return None
    size = Fertility(
        n_tokens=sum(map(len, ids)),
        n_words=sum(len(text.split()) for text in texts),
        n_bytes=sum(len(text.encode()) for text in texts),
    )
    same = lost = 0
    for text, back in zip(texts, tokenizer.decode_batch(ids), strict=True):
        if text == back:
            same += 1
            continue
        missing = Counter(text) - Counter(back)
        lost += sum(len(letter.encode()) * count for letter, count in missing.items())
    return OnText(
        size.tokens_per_word, size.bytes_per_token, same / len(texts), lost / size.n_bytes
    )


def _overlap(alignment: Alignment) -> Vocabularies:
    kinds: dict[str, list[int]] = {}
    scripts: dict[str, list[int]] = {}
    forms, token_kinds, match = alignment.forms, alignment.kinds, alignment.match
    plm_ids, source_ids = match.plm_ids.tolist(), match.source_ids.tolist()
    n_shared = 0
    for plm_id, source_id, is_special in zip(
        plm_ids, source_ids, match.is_special.tolist(), strict=True
    ):
        if plm_id < 0 or is_special or token_kinds[plm_id] == SPECIAL:
            continue
        is_shared = source_id >= 0
        n_shared += is_shared
        form = forms[plm_id]
        for tally, key in (
            (kinds, token_kind(form, token_kinds[plm_id])),
            (scripts, script_of(form)),
        ):
            counts = tally.setdefault(key, [0, 0])
            counts[0] += is_shared
            counts[1] += 1
    n_new = int(((match.plm_ids >= 0) & (match.source_ids < 0)).sum())
    return Vocabularies(len(plm_ids), n_shared, n_new, _by_size(kinds), _by_size(scripts))


def _by_size(tally: dict[str, list[int]]) -> dict[str, tuple[int, int]]:
    return {
        key: (shared, total)
        for key, (shared, total) in sorted(tally.items(), key=lambda item: -item[1][1])
    }


def _coverage(alignment: Alignment, used: Counter[int]) -> float | None:
    """Return the share of the corpus' tokens that copy a row."""
    copied = set((alignment.match.source_ids >= 0).nonzero().flatten().tolist())
    total = used.total()
    return sum(count for id, count in used.items() if id in copied) / total if total else None


def _seen(vocabularies: Vocabularies, coverage: float | None, n_tokens: int) -> float | None:
    """Return how often a new token occurs in so many tokens, on average."""
    if coverage is None or not vocabularies.n_new:
        return None
    return (1 - coverage) * n_tokens / vocabularies.n_new


def _warnings(
    alignment: Alignment,
    config: TransferConfig,
    vocabularies: Vocabularies,
    on_text: OnText | None,
    zero: Tensor,
) -> list[str]:
    found = [note for note in alignment.target.notes if is_loud(note)]
    n_anchors = vocabularies.n_shared + len(alignment.further.names)
    if n_anchors < config.min_shared:
        found.append(f"only {n_anchors} shared tokens: a transfer needs {config.min_shared}")
    if len(zero):
        found.append(f"{len(zero)} rows of the source are zero, the first is {int(zero[0])}")
    if on_text is not None and on_text.lost > 0.001:
        owner = (
            "PLM" if (config.mode, config.target_tokenizer) == ("replace", None) else "NEW MODEL"
        )
        found.append(
            f"THE {owner}'S TOKENIZER LOSES TEXT: {on_text.lost:.1%} of the corpus' bytes do "
            "not come back (lower-casing, accents stripped, white space merged, or unknown "
            "characters); the new model can neither read nor write them"
        )
    if lost := new_losses(alignment.source_definition.tokenizer, alignment.target.tokenizer):
        found.append(f"THE NEW MODEL CANNOT WRITE ALL THAT THE SOURCE CAN: {in_words(lost)}")
    return found
