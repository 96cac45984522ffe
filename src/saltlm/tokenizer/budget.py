"""How many new tokens a corpus and a budget of training pay for: which, and what they save.

Candidates are what the source's own merging would make next of the language's text, whether the PLM
has such a token or not; a row for what it lacks is the mean of its pieces' rows. They are ranked by
what they save, and taken while each still occurs often enough in the text that the budget pays for.
Beside counts of the whole corpus that teach (`saltlm.adaptation.ngram_teacher`) more pay, though a
short training hardly shows them: whole words ended ahead of the parts of words that it shows often
(docs/log.md).
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from saltlm.tokenizer.bpe import apply_merges
from saltlm.tokenizer.continued_merges import Merged, pairs_in, rank_merges
from saltlm.tokenizer.counts import batches
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.insert import Merge, bare_model
from saltlm.tokenizer.vocabulary import Vocabulary, spelled_vocabulary

MIN_OCCURRENCES = 20  # in a budget
_MOST_TAUGHT = 1_000_000  # tokens of a training
_ENOUGH = 12_000  # new tokens for it, where so many occur twice in the corpus
_MOST = 50_000  # tokens are ranked
_LEAST = 2  # times that they must occur there
_BEYOND = 8  # what is so many times too rare to be taught is ranked as well, for the curve
_CHARACTERS = 32_000_000  # of a corpus are read, from its beginning
_WORTH = 0.25  # of the corpus' tokens; where less is saved, trials were ahead by little or not


@dataclass(frozen=True)
class Saving:
    """What so many new tokens come to.

    Attributes:
        n_new: the first so many candidates.
        tokens_per_word: of the corpus; a word stands between white space.
        saved: share of the source's tokens of the corpus that are saved.
        occurrences: of the rarest of them, expected in the budget's tokens; infinite for none.
    """

    n_new: int
    tokens_per_word: float
    saved: float
    occurrences: float


@dataclass(frozen=True)
class BudgetVocabulary:
    """New tokens for a budget.

    Attributes:
        budget: tokens of training, as the new tokenizer cuts text.
        occurrences: of the rarest new token in them; infinite for none.
        is_taught: whether they are more than the budget itself can teach, for counts to do so.
        tokens: the new tokens as the source spells them, the one that saves most first.
        curve: points up to and beyond that number.
        n_tokens: tokens of the corpus, as the source cuts it.
    """

    budget: int
    occurrences: float
    is_taught: bool
    tokens: tuple[str, ...]
    curve: tuple[Saving, ...]
    n_tokens: int

    @property
    def saved(self) -> float:
        """Share of the source's tokens of the corpus that the new ones save."""
        return next(point.saved for point in self.curve if point.n_new == len(self.tokens))

    @property
    def verdict(self) -> str:
        """What trials with such a saving came to, in words."""
        told = f"{len(self.tokens):,} new tokens save {self.saved:.0%} of the corpus' tokens"
        if self.saved < _WORTH:
            return f"{told}: with so little, plain training may do as well (docs/log.md)"
        if self.is_taught:
            return f"{told}: with as much, trials were ahead of plain training (docs/adapt.md)"
        return f"{told}: with as much some trials were ahead of plain training (docs/log.md)"

    def record(self) -> dict[str, Any]:
        """Return plain data, for the manifest."""
        return {
            "tokens": self.budget,
            "is_taught": self.is_taught,
            "occurrences": round(self.occurrences, 3) if self.tokens else None,
            "n_chosen": len(self.tokens),
            "saved": self.saved,
            "corpus_tokens": self.n_tokens,
            "verdict": self.verdict,
            "curve": [asdict(point) for point in self.curve if point.n_new],
        }


def ngrams_teach(n_tokens: int) -> bool:
    """Whether a training is so short that counts of its text are a good teacher: up to a million.

    They were at 41,000 and 102,000 tokens; a model outgrows them, and no longer run was measured.
    """
    return n_tokens <= _MOST_TAUGHT


def budget_vocabulary(
    source: Definition,
    corpus: Iterable[str],
    sample: Iterable[str],
    *,
    budget: int | None,
    min_occurrences: float | None,
) -> BudgetVocabulary:
    """Choose new tokens for a source's tokenizer.

    Args:
        source: its definition; a BPE or Unigram one.
        corpus: text of the new language.
        sample: text of the source's own language; no pair that stands in it is merged.
        budget: tokens of training; None: those of the corpus, once.
        min_occurrences: that a new token must have in them, counted when it is merged; None: 20,
            but where `ngrams_teach` no fewer than 12,000 tokens, if so many occur twice in the
            corpus.
    """
    found = count_words(source, corpus, most_characters=_CHARACTERS)
    n_tokens = sum(len(word) * count for word, count in found.pieces.items())
    own = count_words(source, sample).pieces
    wanted = min_occurrences or MIN_OCCURRENCES
    counts_teach = min_occurrences is None and ngrams_teach(budget or n_tokens)
    least = wanted * n_tokens / (budget or n_tokens or 1) / _BEYOND
    ranked = rank_merges(
        found.pieces,
        most=_MOST,
        least=min(_LEAST, least) if counts_teach else least,
        refused=pairs_in(own),
        is_allowed=new_token_test(source),
    )
    points = list(_savings(ranked, n_tokens, max(1, found.n_words), budget))
    n_chosen = n_few = max(point.n_new for point in points if point.occurrences >= wanted)
    if counts_teach:
        n_chosen = max(n_few, min(_ENOUGH, sum(m.occurrences >= _LEAST for m in ranked)))
    chosen = points[n_chosen]
    steps = {factor * 10**power for power in range(1, 6) for factor in (1, 2, 5)}
    shown = steps | {0, n_chosen, len(ranked)}
    return BudgetVocabulary(
        budget or round(n_tokens * (1 - chosen.saved)),
        chosen.occurrences,
        n_chosen > n_few,
        tuple(merged.token for merged in ranked[:n_chosen]),
        tuple(point for point in points if point.n_new in shown),
        n_tokens,
    )


def budget_notes(record: Mapping[str, Any]) -> Iterator[str]:
    """Say in words what was chosen, by its record."""
    yield str(record["verdict"])
    if record["n_chosen"]:
        yield (
            f"the rarest of them occurs about {times(record['occurrences'])} times in"
            f" {record['tokens']:,} tokens of training"
        )
    if record["is_taught"]:
        yield "they are so many that n-grams of the text must teach them, as saltlm adapt does"


def times(occurrences: float) -> str:
    """Return how often a token occurs, in words as exact as it is."""
    return f"{occurrences:,.0f}" if occurrences >= 10 else f"{occurrences:.1f}"


def as_vocabulary(chosen: BudgetVocabulary, source: Definition) -> Vocabulary:
    """Return the new tokens as a vocabulary, an id each in the order of what they save."""
    return spelled_vocabulary(source, chosen.tokens)


@dataclass(frozen=True)
class Words:
    """A text as stretches that no merge crosses.

    Attributes:
        pieces: such a stretch, cut into pieces -> how often it occurs.
        n_words: of the text; a word stands between white space.
    """

    pieces: Counter[tuple[str, ...]]
    n_words: int


def count_words(
    definition: Definition, texts: Iterable[str], *, most_characters: int | None = None
) -> Words:
    """Cut texts into stretches that no merge crosses, and count them.

    Such a stretch ends where the pre-tokenizer splits, where a piece begins a word, and at what
    the model has no piece for.

    Args:
        definition: of the tokenizer.
        texts: a document each, read a batch at a time.
        most_characters: of the texts are read; None: all.
    """
    stretches: Counter[tuple[int, ...]] = Counter()
    n_words = n_read = 0
    for batch in batches(texts, "count words"):
        for encoding in definition.tokenizer.encode_batch(batch, add_special_tokens=False):
            stretches.update(_stretches(encoding.ids, encoding.word_ids))
        n_words += sum(len(text.split()) for text in batch)
        n_read += sum(map(len, batch))
        if most_characters is not None and n_read >= most_characters:
            break
    counts: Counter[tuple[str, ...]] = Counter()
    pieces = {**definition.pieces, definition.unknown_id: ""}
    for stretch, count in stretches.items():
        for word in _words(pieces, definition.mark, stretch):
            counts[word] += count
    return Words(counts, n_words)


def _stretches(ids: list[int], numbers: list[int | None]) -> list[tuple[int, ...]]:
    """Return the ids of a document, cut where the pre-tokenizer splits."""
    ends = [end for end, (one, other) in enumerate(pairwise(numbers), 1) if one != other]
    return [tuple(ids[start:end]) for start, end in pairwise([0, *ends, len(ids)])]


def _words(
    pieces: Mapping[int, str], mark: str, stretch: tuple[int, ...]
) -> Iterator[tuple[str, ...]]:
    """Yield a stretch as pieces, cut further where one begins a word and at unknown ones."""
    word: list[str] = []
    for id in stretch:
        piece = pieces.get(id, "")
        if word and (not piece or (mark and piece.startswith(mark))):
            yield tuple(word)
            word = []
        if piece:
            word.append(piece)
    if word:
        yield tuple(word)


def new_token_test(source: Definition) -> Callable[[str, str], bool]:
    """Return the test of a pair: whether the two make a token that the source can have.

    It is new, no part of a character but its beginning, and of its own spelling the merges so far
    make these two pieces.
    """
    known, ranks = set(source.ids), dict[Merge, int]()
    model = bare_model(source) if source.kind == "BPE" else None

    def is_allowed(left: str, right: str) -> bool:
        token = left + right
        if token in known or not is_whole(source, token):
            return False
        if model is not None:
            pieces = [piece.value for piece in model.tokenize(token)]
            apply_merges(pieces, ranks)
            if pieces != [left, right]:
                return False
        ranks[left, right] = len(ranks)
        return True

    return is_allowed


def is_whole(source: Definition, token: str) -> bool:
    """Whether a token stands for whole characters, or for the beginning of one."""
    (form,) = spelled_vocabulary(source, [token]).forms
    if form is None:
        return False
    try:
        form.text.decode()
    except UnicodeDecodeError as error:
        return error.start == 0 and error.reason == "unexpected end of data"
    return True


def _savings(
    ranked: list[Merged], n_tokens: int, n_words: int, budget: int | None
) -> Iterator[Saving]:
    """Yield what the first 0, 1, 2, ... of the candidates come to."""
    left = n_tokens
    yield Saving(0, left / n_words, 0.0, math.inf)
    for number, merged in enumerate(ranked, 1):
        left -= merged.occurrences
        saved = 1 - left / n_tokens
        yield Saving(number, left / n_words, saved, merged.occurrences * (budget or left) / left)
