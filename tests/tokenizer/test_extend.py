"""A source's tokenizer with a PLM's tokens: ids stay, English stays, German gets shorter."""

import json

import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from saltlm.config.transfer import SpecialTokensConfig
from saltlm.errors import ConfigError, VocabularyError
from saltlm.tokenizer.counts import count_tokens
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.extend import Extension, extend_tokenizer
from saltlm.tokenizer.prune import prune_tokenizer
from saltlm.tokenizer.special_tokens import special_tokens_of
from saltlm.tokenizer.vocabulary import read_vocabulary

# Each family as a source, and each as a PLM.
PAIRS = [
    ("bytelevel", "wordpiece"),
    ("bytelevel", "metaspace"),
    ("sentencepiece", "unigram"),
    ("metaspace", "bytelevel"),
    ("unigram", "sentencepiece"),
]
ENGLISH, GERMAN = slice(0, 6), slice(6, 12)


def extend(source: Tokenizer, donor: Tokenizer, sample=(), **config: object) -> Extension:
    special = special_tokens_of(source)
    return extend_tokenizer(
        Definition.of(source),
        special,
        read_vocabulary(Definition.of(source), special=special.tokens),
        read_vocabulary(Definition.of(donor), special=special_tokens_of(donor).tokens),
        SpecialTokensConfig(**config),
        list(sample),
    )


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False).ids


@pytest.fixture(scope="module")
def english(tokenizers_by_family, corpus):
    """Of each family a tokenizer that knows English words only."""
    return {
        family: prune_tokenizer(
            Definition.of(tokenizer), count_tokens(tokenizer, corpus[ENGLISH])
        ).tokenizer
        for family, tokenizer in tokenizers_by_family.items()
    }


@pytest.mark.parametrize(("family", "plm"), PAIRS)
def test_the_sources_tokens_and_text_stay(english, tokenizers_by_family, corpus, family, plm):
    source, sample = english[family], corpus[ENGLISH]
    extension = extend(source, tokenizers_by_family[plm], sample)
    target, size = extension.target, source.get_vocab_size()
    new = target.tokenizer
    assert source.get_vocab().items() <= new.get_vocab().items()
    definition, old = json.loads(new.to_str()), json.loads(source.to_str())
    assert definition["added_tokens"] == old["added_tokens"]
    added = {new.id_to_token(id) for id in range(size, new.get_vocab_size())}
    vocab = definition["model"]["vocab"]
    assert added <= ({piece for piece, _ in vocab} if family == "unigram" else vocab.keys())
    assert len(added) == extension.n_new + extension.n_intermediate > 300

    for line in sample:
        assert ids(new, line) == ids(source, line)
    assert extension.sample_changed == 0
    assert extension.sample_tokens == sum(len(ids(source, line)) for line in sample)
    german = [(ids(source, line), ids(new, line)) for line in corpus[GERMAN]]
    assert sum(len(after) for _, after in german) < 0.5 * sum(len(before) for before, _ in german)
    for line in corpus:
        if family in ("bytelevel", "sentencepiece"):  # the others lacked letters
            assert new.decode(ids(new, line)) == source.decode(ids(source, line))
        if max(ids(new, line)) < size:
            assert ids(new, line) == ids(source, line)
    for token in added.intersection(extension.vocabulary.strings[size:]):
        assert [piece.value for piece in new.model.tokenize(token)] == [token]


def test_new_tokens_know_their_plm_row(english, tokenizers_by_family):
    donor = tokenizers_by_family["wordpiece"]
    extension = extend(english["bytelevel"], donor)
    size = english["bytelevel"].get_vocab_size()
    assert (extension.target.plm_ids[:size] == -1).all()
    plm_ids = dict(enumerate(extension.target.plm_ids[size:].tolist(), start=size))
    forms = read_vocabulary(Definition.of(donor)).forms
    for id, plm_id in plm_ids.items():
        assert plm_id < 0 or forms[plm_id] == extension.vocabulary.forms[id]
    assert sum(plm_id >= 0 for plm_id in plm_ids.values()) == extension.n_new
    assert list(plm_ids.values()).count(-1) == extension.n_intermediate > 0


def words(*pieces: str) -> Tokenizer:
    """A WordPiece tokenizer of some whole words and their letters."""
    letters = sorted(set("".join(pieces)))
    vocabulary = dict.fromkeys(["[UNK]", *pieces, *letters, *("##" + it for it in letters)])
    model = models.WordPiece({it: id for id, it in enumerate(vocabulary)}, unk_token="[UNK]")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def letters_only(text: str, **model: object) -> Tokenizer:
    vocabulary = {letter: id for id, letter in enumerate(sorted(set(text)))}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], **model))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer


def test_tokens_that_the_sample_would_meet_are_left_out():
    source = letters_only("▁abcdefghijklmnopqrstuvwxyz")
    donor = words("kind", "kinder", "rind")
    assert extend(source, donor).target.tokenizer.encode("a kind").tokens == ["▁", "a", "▁kind"]
    extension = extend(source, donor, ["a kind bird"])
    new = extension.target.tokenizer
    assert extension.n_protected == len({"▁kind", "▁k"})
    assert extension.sample_changed == 0
    assert new.encode("a kind bird").tokens == list("▁a▁kind▁bird")
    # On the way to these the sample's own ends, such as "ind", are gone round.
    assert new.encode("kinder rind").tokens == ["▁kinder", "▁rind"]


def test_what_the_sources_tokenizer_cannot_make_is_left_out():
    source = letters_only("▁abcdefghijklmnopqrstuvwxyz1234567890")
    source.normalizer = normalizers.Lowercase()
    source.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(), pre_tokenizers.Digits(individual_digits=True)]
    )
    extension = extend(source, words("haus", "Haus", "2024"))
    new = extension.target.tokenizer
    assert new.encode("Haus 2024").tokens == ["▁haus", "▁", *"2024"]
    gone = {"▁Haus", "▁2024", "H"}
    assert gone.isdisjoint(new.get_vocab())
    assert extension.n_out_of_reach >= len(gone)


def test_tokens_keep_ids_around_holes_and_added_ones():
    vocabulary = {letter: 2 * id for id, letter in enumerate("▁ab")}
    source = Tokenizer(models.BPE(vocabulary, []))
    source.pre_tokenizer = pre_tokenizers.Metaspace()
    source.add_special_tokens([AddedToken("<s>")])
    before = source.get_vocab()
    new = extend(source, words("aba")).target.tokenizer
    assert before.items() <= new.get_vocab().items()
    assert new.token_to_id("▁aba") > max(before.values())
    assert new.encode("aba<s>").ids == [new.token_to_id("▁aba"), before["<s>"]]


def test_wordpiece_is_not_extended(tokenizers_by_family):
    with pytest.raises(VocabularyError, match="is a WordPiece one, which cannot be extended") as e:
        extend(tokenizers_by_family["wordpiece"], tokenizers_by_family["unigram"])
    assert e.value.hint.startswith("replace its vocabulary: --mode replace (without vocabulary=")


@pytest.mark.parametrize("option", ["drop", "carry_plm"])
def test_special_tokens_are_neither_dropped_nor_carried(tokenizers_by_family, option):
    with pytest.raises(ConfigError, match="keep the source's special tokens and take none"):
        extend(*(tokenizers_by_family[f] for f in ("bytelevel", "unigram")), **{option: ("<s>",)})


def test_roles_are_of_the_sources_special_tokens(tokenizers_by_family):
    source, donor = (tokenizers_by_family[family] for family in ("bytelevel", "unigram"))
    target = extend(source, donor, roles={"pad": "<|endoftext|>"}).target
    assert target.roles["pad"] == source.token_to_id("<|endoftext|>")
    with pytest.raises(VocabularyError, match="roles: there is no 'the'"):
        extend(source, donor, roles={"pad": "the"})
