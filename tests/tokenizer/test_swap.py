"""A source's tokenizer with a PLM's tokens in the place of its own idle ones: nothing is lost."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from saltlm.config.transfer import SpecialTokensConfig
from saltlm.tokenizer.budget import budget_vocabulary
from saltlm.tokenizer.counts import count_tokens
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.extend import Extension, extend_tokenizer
from saltlm.tokenizer.special_tokens import special_tokens_of
from saltlm.tokenizer.swap import Swap, swap_notes, swap_tokenizer
from saltlm.tokenizer.vocabulary import SPECIAL, read_vocabulary
from tiny_pairs import extended_by

ENGLISH, GERMAN = slice(0, 6), slice(6, 12)
PAIRS = {
    "bytelevel": "wordpiece",
    "sentencepiece": "unigram",
    "metaspace": "bytelevel",
    "unigram": "sentencepiece",
}
CONTROLS = ("<|im_start|>", "<|im_end|>", "<s>", "</s>", "<mask>", "<extra>")


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False).ids


def back(tokenizer: Tokenizer, text: str) -> str:
    return tokenizer.decode(ids(tokenizer, text), skip_special_tokens=False)


def extend(source: Tokenizer, plm: Tokenizer, sample: list[str]) -> Extension:
    special = special_tokens_of(source)
    return extend_tokenizer(
        Definition.of(source),
        special,
        read_vocabulary(Definition.of(source), special=special.tokens),
        read_vocabulary(Definition.of(plm), special=special_tokens_of(plm).tokens),
        SpecialTokensConfig(roles={"pad": special.tokens[0]}),
        sample,
    )


def extend_for_a_budget(source: Tokenizer, corpus: list[str]) -> Extension:
    """With tokens merged further from the source's own, as ``vocabulary=auto`` chooses them."""
    definition = Definition.of(source)
    texts = corpus[GERMAN], corpus[ENGLISH]
    found = budget_vocabulary(definition, *texts, budget=400, min_occurrences=2)
    assert len(found.tokens) > 10
    return extended_by(found, definition, corpus[ENGLISH])


def swap(extension: Extension, n_source: int, corpus, sample, within=1e9) -> Swap:
    counts = count_tokens(extension.target.tokenizer, corpus, n_rows=len(extension.vocabulary))
    return swap_tokenizer(extension, n_source, counts, sample, within=within)


@dataclass(frozen=True, repr=False)
class Made:
    """A source, the extended and the swapped tokenizer."""

    source: Tokenizer
    extension: Extension
    swap: Swap

    def __iter__(self):
        return iter((self.source, self.extension, self.swap))


class ByFamily(dict):
    """What hypothesis should not print."""

    def __repr__(self):
        return "by family"


@pytest.fixture(scope="module")
def swapped(tokenizers_by_family, corpus):
    """Of each family the source, the extended and the swapped tokenizer."""
    made = ByFamily()
    for family, plm in PAIRS.items():
        source = Tokenizer.from_str(tokenizers_by_family[family].to_str())
        source.add_tokens([AddedToken("<extra>", normalized=False)])
        extension = extend(source, tokenizers_by_family[plm], corpus[ENGLISH])
        n_source = source.get_vocab_size()
        made[family] = Made(
            source,
            extension,
            swap(extension, n_source, corpus[GERMAN], corpus[ENGLISH]),
        )
    return made


@pytest.mark.parametrize("family", PAIRS)
def test_only_idle_tokens_of_the_source_go(swapped, corpus, family):
    source, extension, result = swapped[family]
    n_source, kept = source.get_vocab_size(), set(result.extended_ids.tolist())
    new, old = result.target.tokenizer, extension.target.tokenizer
    assert new.get_vocab() == {
        old.id_to_token(before): after for after, before in enumerate(result.extended_ids.tolist())
    }
    assert kept >= set(range(n_source, len(extension.vocabulary)))
    used = {id for line in corpus[:12] for id in ids(old, line)}
    assert kept >= used
    for line in corpus[:12]:
        assert result.extended_ids[ids(new, line)].tolist() == ids(old, line)
    strings = [extension.vocabulary.strings[id] for id in kept]
    for id in kept - used - set(range(n_source, len(extension.vocabulary))):
        token = extension.vocabulary.strings[id]
        assert (
            extension.vocabulary.kinds[id] == SPECIAL
            or token in CONTROLS
            or not token.strip("▁ĠĊ")
            or len(token) == 1
            or (family == "sentencepiece" and token.startswith("<0x"))
            or any(token in other and token != other for other in strings)
        )
    counts = result.counts
    assert counts.n_source == n_source
    assert counts.n_kept == sum(id < n_source for id in kept) < 0.9 * n_source
    (cut, *_) = swap_notes(result.record())
    assert cut.startswith(f"{n_source - counts.n_kept:,} of the source's {n_source:,} tokens are")


@pytest.mark.parametrize("family", PAIRS)
def test_special_and_added_tokens_and_roles_stay(swapped, family):
    source, extension, result = swapped[family]
    new, before = result.target.tokenizer, source.get_added_tokens_decoder().values()
    after = {token.content: token for token in new.get_added_tokens_decoder().values()}
    for token in before:
        assert str(after[token.content]) == str(token)
        assert ids(new, f"a{token.content}b").count(new.token_to_id(token.content)) == 1
    for role, id in extension.target.roles.items():
        assert new.id_to_token(result.target.roles[role]) == source.id_to_token(id)
    special = (result.target.source_special_ids >= 0).nonzero().flatten().tolist()
    assert special
    for id in special:
        source_id = int(result.target.source_special_ids[id])
        assert new.id_to_token(id) == source.id_to_token(source_id)
    framed = [source.id_to_token(id) for id in source.encode("the").ids]
    assert [new.id_to_token(id) for id in new.encode("the").ids] == framed
    same = extension.target.plm_ids[result.extended_ids]
    assert torch.equal(result.target.plm_ids, same)


PIECES = st.one_of(
    st.sampled_from([*CONTROLS, "house", " Datei", "die", "2024", "don't", "für", "学"]),
    st.sampled_from(["\n", "\n\n", "\t", "  ", "    ", "\r\n", "\u00a0", "\u200f", "e\u0301"]),
    st.text(max_size=4),
)
TEXTS = st.lists(PIECES, max_size=8).map("".join)


@pytest.fixture(scope="module")
def for_a_budget(tokenizers_by_family, corpus):
    """Likewise, with the tokens that ``vocabulary=auto`` chooses."""
    made = ByFamily()
    for family in ("bytelevel", "sentencepiece", "unigram"):
        source = tokenizers_by_family[family]
        extension = extend_for_a_budget(source, corpus)
        made[family] = Made(
            source,
            extension,
            swap(extension, source.get_vocab_size(), corpus[GERMAN], corpus[ENGLISH]),
        )
    return made


@pytest.mark.parametrize("family", PAIRS)
@given(text=TEXTS)
def test_whatever_comes_back_from_the_source_comes_back(swapped, for_a_budget, family, text):
    spells_bytes = family in ("bytelevel", "sentencepiece")
    for source, extension, result in (
        one[family] for one in (swapped, for_a_budget) if family in one
    ):
        wanted = back(source, text)
        if spells_bytes or wanted == text:
            assert back(extension.target.tokenizer, text) == wanted
            assert back(result.target.tokenizer, text) == wanted


WORDS = st.lists(st.sampled_from(["the", " house", " Datei", "\n"]), min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("family", "control"), [("bytelevel", "<|im_end|>"), ("metaspace", "</s>")]
)
@given(words=WORDS)
def test_control_tokens_stand_between_any_words(swapped, family, control, words):
    source, _, result = swapped[family]
    new, text = result.target.tokenizer, control.join(words)
    assert ids(new, text).count(new.token_to_id(control)) == len(words) - 1
    assert back(new, text) == back(source, text)


def chain(*words: str) -> Tokenizer:
    """A BPE of letters, and of some words by rank, each merged from the left."""
    vocabulary = dict.fromkeys("▁abcdefgh")
    merges = {}
    for word in words:
        for end in range(1, len(word)):
            merges[word[:end], word[end]] = None
            vocabulary[word[: end + 1]] = None
    ids = {token: id for id, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.BPE(ids, list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens(["<s>"])
    return tokenizer


def test_earliest_tokens_stay_until_a_left_out_tenth_costs_no_more():
    source = chain("▁ab", "▁cd", "▁ef", "▁gh", "gh")
    texts = ["ab ab ab ab"] * 8 + ["ef", "gh"]
    extension = extend(source, chain("▁ab"), texts)

    def tokens(within: float) -> tuple[set[str], Swap]:
        result = swap(extension, source.get_vocab_size(), ["ab"], texts, within)
        return {*result.target.tokenizer.get_vocab()} & {"▁ab", "▁cd", "▁ef", "▁gh", "gh"}, result

    # Of 34 tokens, one ▁ef and one ▁gh would each be cut into three.
    found, result = tokens(4 / 34)
    assert found == {"▁ab", "▁ef", "▁gh"}
    counts = result.counts
    assert (counts.n_variants, counts.n_earliest, counts.expected_cost) == (0, 0, 4 / 34)
    assert len([*swap_notes(result.record())]) == 1
    # ▁ef, and so ▁cd before it, have to be there, and what the texts have at another place.
    found, result = tokens(3 / 34)
    assert found == {"▁ab", "▁cd", "▁ef", "▁gh", "gh"}
    assert result.counts.n_variants == 1
    assert result.counts.expected_cost == 2 / 34
    assert result.counts.n_earliest == len({"▁a", "▁c", "▁cd", "▁e"})
    *_, early = swap_notes(result.record())
    assert early.startswith("5 of the tokens that stay are in no text either")
    assert "1 in another case or without the space of one that is, and" in early
    _, result = tokens(0)
    assert result.counts.expected_cost == 0


def test_no_kept_text_keeps_what_the_corpus_uses():
    source = chain("▁ab", "▁cd")
    extension = extend(source, chain("▁ab"), [])
    result = swap(extension, source.get_vocab_size(), ["cd"], [])
    tokens = result.target.tokenizer.get_vocab()
    assert "▁cd" in tokens
    assert "▁ab" not in tokens
    assert result.counts.expected_cost == 0
