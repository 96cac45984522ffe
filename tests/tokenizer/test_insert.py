"""New tokens inside a model's vocabulary and merges, on cases worked by hand."""

import json

import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.insert import splice


def bpe(letters: str, merges: list[str], **settings: object) -> Tokenizer:
    """A BPE with Metaspace; a merge is written ``a b``."""
    pairs = [tuple(merge.split()) for merge in merges]
    pieces = ["▁", *letters, *("".join(pair) for pair in pairs)]
    vocabulary = {piece: id for id, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.BPE(vocabulary, pairs, **settings))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer


def spliced(tokenizer: Tokenizer, *spellings: str, banned: set[str] = frozenset()):
    """The splice with its tokenizer, which is checked to give every id that it says."""
    size = tokenizer.get_vocab_size()
    before = tokenizer.to_str()
    result = splice(Definition(json.loads(before)), size, spellings, banned)
    new = result.definition.tokenizer
    assert tokenizer.to_str() == before
    assert tokenizer.get_vocab().items() <= new.get_vocab().items()
    assert tuple(new.id_to_token(size + i) for i in range(len(result.added))) == result.added
    assert new.get_vocab_size() == size + len(result.added)
    return result.added, new


def merges(tokenizer: Tokenizer, since: int) -> list[str]:
    return [" ".join(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]][since:]


def tokens(tokenizer: Tokenizer, text: str) -> list[str]:
    return tokenizer.encode(text, add_special_tokens=False).tokens


def test_a_token_is_merged_from_what_the_old_merges_leave():
    added, new = spliced(bpe("haus", ["h a", "u s"]), "haus")
    assert added == ("haus",)
    assert merges(new, 2) == ["ha us"]
    assert tokens(new, "haus hau hasu") == ["▁", "haus", "▁", "ha", "u", "▁", "ha", "s", "u"]


def test_what_lies_between_becomes_a_token_from_the_end():
    added, new = spliced(bpe("abcd", []), "abcd")
    assert added == ("cd", "bcd", "abcd")
    assert merges(new, 0) == ["c d", "b cd", "a bcd"]


def test_the_way_goes_over_new_tokens_that_there_are():
    # "bc" is one, so "abc" is (a, bc); "abcx" starts from it. Nothing else lies between.
    added, new = spliced(bpe("abcx", []), "abcx", "abc", "bc")
    assert added == ("bc", "abc", "abcx")
    assert merges(new, 0) == ["b c", "a bc", "abc x"]


def test_a_banned_string_is_gone_round_or_ends_the_way():
    added, _ = spliced(bpe("abc", []), "abc", banned={"bc"})
    assert added == ("ab", "abc")
    added, new = spliced(bpe("abc", []), "abc", banned={"bc", "ab"})
    assert added == ()
    assert merges(new, 0) == []


def test_merges_of_a_given_up_way_leave_nothing():
    # From the end: (c, d), (b, cd) is banned, (a, b), and (ab, cd) is banned as a whole.
    added, new = spliced(bpe("abcd", []), "abcd", "ad", banned={"bcd", "abc", "abcd"})
    assert added == ("ad",)
    assert merges(new, 0) == ["a d"]


def test_letters_that_the_model_lacks_become_tokens_first():
    added, new = spliced(bpe("strae", ["a e"]), "straße", "ß", "ü")
    assert added[:2] == ("ß", "ü")
    assert added[-1] == "straße"
    assert tokens(new, "straße") == ["▁", "straße"]
    added, _ = spliced(bpe("ab", []), "aß", "ab", banned={"ß"})
    assert added == ("ab",)


def test_a_word_in_the_vocabulary_needs_no_merge_where_they_are_ignored():
    added, new = spliced(bpe("ab", [], ignore_merges=True), "▁abab", "abab")
    assert tokens(new, "abab") == ["▁abab"]
    assert "abab" in added


def test_added_tokens_keep_their_ids_behind_which_new_ones_come():
    tokenizer = bpe("ab", [])
    tokenizer.add_special_tokens(["<s>"])
    tokenizer.add_tokens([AddedToken("<think>")])
    added, new = spliced(tokenizer, "ab")
    assert added == ("ab",)
    assert tokens(new, "ab<think><s>") == ["▁", "ab", "<think>", "<s>"]
    assert (
        json.loads(new.to_str())["added_tokens"] == json.loads(tokenizer.to_str())["added_tokens"]
    )


def unigram(**scores: float) -> Tokenizer:
    pieces = [("<unk>", 0.0), ("▁", -1.0), *scores.items()]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer


def test_a_unigram_piece_scores_what_its_best_cut_scores_and_a_trifle_more():
    old = unigram(a=-2.0, b=-3.0, ab=-4.0, c=-5.0)
    added, new = spliced(old, "abc", "ac", "abcß")
    scores = dict(json.loads(new.to_str())["model"]["vocab"])
    assert added == ("ß", "ac", "abc", "abcß")
    assert scores["abc"] == pytest.approx(-4 - 5 + 5e-4, abs=1e-9)
    assert scores["ac"] == pytest.approx(-2 - 5 + 5e-4, abs=1e-9)
    assert scores["ß"] == -5.0  # as the least likely piece
    assert scores["abcß"] == pytest.approx(-4 - 5 - 5 + 2 * 5e-4, abs=1e-9)
    assert tokens(new, "abc ab acb abcß") == ["▁", "abc", "▁", "ab", "▁", "ac", "b", "▁", "abcß"]


def test_nothing_new_changes_nothing():
    for old in (bpe("ab", ["a b"]), unigram(a=-2.0, b=-3.0)):
        added, new = spliced(old, "a")
        assert added == ()
        assert new.to_str() == old.to_str()
