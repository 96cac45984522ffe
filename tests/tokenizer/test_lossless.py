"""Every text that the source gives back comes back from the new tokenizer, whatever the PLM is."""

import itertools
import json
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from conftest import ROLES, TRAINERS
from saltlm.alignment.pruned import prune_to_corpus
from saltlm.config.transfer import RowsConfig, SpecialTokensConfig
from saltlm.errors import VocabularyError
from saltlm.tokenizer.carried import digits_at_once, joins_line_breaks
from saltlm.tokenizer.counts import count_tokens
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.joined import join_pieces
from saltlm.tokenizer.probes import PROBES
from saltlm.tokenizer.prune import prune_tokenizer
from saltlm.tokenizer.replace import replace_vocabulary
from saltlm.tokenizer.save import save_tokenizer
from saltlm.tokenizer.special_tokens import special_tokens_of
from saltlm.tokenizer.target import TargetTokenizer
from saltlm.tokenizer.tokens import Tokens, read_tokens

FAMILIES = list(TRAINERS)
CODE = 'def f(x):\n    if x > 0:\n\treturn "(z.B. 3,14)"\n\n\n  # done  \n'
CHAT = "<|im_start|>system\nYou are ...<|im_end|>\n<|im_start|>user\nHallo!\n\n- a\n- b<|im_end|>\n"

# What tokenizers rewrite, drop, merge or mark, and what the spaces of `Spacing` are told by.
BITS = [
    *(" ", "  ", "\n", "\n\n", "\t", "\r\n", "\u00a0", "\u3000", "\u2028", "\x10", "\x10\x11"),
    *("a", "B", "Haus", " für", "größer", "é", "e\u0301", "人", "语言", "مرحبا", "\u200f", "😀"),
    *("(", ")", "[", "-", "—", '"', "'", "„", ".", ",", "#", "##a", "_", "/", "▁", "▁▁", "Ġ", "Ċ"),
    *("1", "23", "456", "7890", "²", "½", "ﬁ", "…", "\u200b", "\ufeff", "\x00", "<0x41>", "<0xC3>"),
    *("<|im_start|>", "<|im_end|>", "<s>", "</s>", "[SEP]", "[UNK]", "<unk>"),
]
TEXTS = st.lists(st.sampled_from(BITS) | st.characters(exclude_categories=["Cs"]), max_size=9).map(
    "".join
)


def read(tokenizer: Tokenizer, **roles: str) -> Tokens:
    special = special_tokens_of(PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles))
    return read_tokens(Definition.of(tokenizer), special)


def replaced(plm: Tokens, source: Tokens, **options: Any) -> TargetTokenizer:
    return replace_vocabulary(plm, source, SpecialTokensConfig(), **options)


def cut(tokenizer: Tokenizer, text: str) -> list[str]:
    return tokenizer.encode(text, add_special_tokens=False).tokens


def back(tokenizer: Tokenizer, text: str) -> str:
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    return tokenizer.decode(ids, skip_special_tokens=False)


def edited(tokenizer: Tokenizer, **parts: object) -> Tokenizer:
    """A copy with other parts."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    for name, part in parts.items():
        setattr(copy, name, part)
    return copy


@pytest.fixture(scope="module")
def tokens(tokenizers_by_family):
    return {family: read(tokenizers_by_family[family], **ROLES[family]) for family in FAMILIES}


def joined(plm: Tokens, corpus: list[str]) -> Tokens:
    """The PLM's tokenizer with half of its tokens, and joins of them."""
    counts = count_tokens(plm.definition.tokenizer, corpus[:6])
    made = join_pieces(plm.definition, counts, corpus, size=len(plm.vocabulary) // 2)
    assert made.n_joined > 20
    return read_tokens(made.definition, plm.special)


def pruned(plm: Tokens, corpus: list[str]) -> Tokens:
    """The PLM's tokenizer with those of its tokens that a part of the corpus needs."""
    counts = count_tokens(plm.definition.tokenizer, corpus[6:9])
    made = prune_tokenizer(plm.definition, counts)
    assert len(made.kept) < len(plm.vocabulary)
    return read_tokens(Definition.of(made.tokenizer), plm.special)


@pytest.fixture(scope="module")
def lost(tokens, corpus):
    """A function that names the pairs of which the source gives a text back and the new one not."""
    pairs = list(itertools.product(FAMILIES, FAMILIES))
    new = {(plm, source): replaced(tokens[plm], tokens[source]).tokenizer for plm, source in pairs}
    for plm in ("unigram", "sentencepiece"):
        pairs.append((f"{plm}, joined", "bytelevel"))
        new[pairs[-1]] = replaced(joined(tokens[plm], corpus), tokens["bytelevel"]).tokenizer
    for source in ("bytelevel", "sentencepiece"):
        pairs.append(("wordpiece, pruned", source))
        new[pairs[-1]] = replaced(pruned(tokens["wordpiece"], corpus), tokens[source]).tokenizer

    def find(text: str) -> dict[tuple[str, str], str]:
        kept = {family: back(tokens[family].definition.tokenizer, text) for family in FAMILIES}
        came = {pair: back(new[pair], text) for pair in pairs if kept[pair[1]] == text}
        return {pair: found for pair, found in came.items() if found != text}

    return find


@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
@example(text=CODE)
@example(text=CHAT)
@example(text=" " + CODE)
@example(text="(<s> \" für'<unk> -  a\n b\n  c\t d - e")
def test_what_comes_back_from_the_source_comes_back(lost, text):
    assert lost(text) == {}


@pytest.mark.parametrize("plm", FAMILIES)
def test_a_byte_level_source_loses_nothing(tokens, corpus, plm):
    tokenizer = replaced(tokens[plm], tokens["bytelevel"]).tokenizer
    for text in [*PROBES.values(), *corpus, "\n".join(corpus), CODE, CHAT, "".join(BITS)]:
        assert back(tokenizer, text) == text
        # Special tokens apart, too, as what a model writes is read.
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        specials = {t.content for t in tokenizer.get_added_tokens_decoder().values() if t.special}
        bare = text
        for token in specials:
            bare = bare.replace(token, "")
        assert tokenizer.decode(ids) == bare


@pytest.mark.parametrize("plm", ["sentencepiece", "unigram", "wordpiece"])
@pytest.mark.parametrize("model_type", ["llama", "qwen2"])
def test_transformers_loads_it_and_the_chat_comes_back(tmp_path, tokens, plm, model_type):
    target = replaced(tokens[plm], tokens["bytelevel"])
    save_tokenizer(target, tmp_path, model_type=model_type)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for text in [CHAT, CODE, *PROBES.values()]:
        assert loaded(text).input_ids == target.tokenizer.encode(text).ids
        assert loaded.decode(loaded(text).input_ids) == text


@pytest.mark.parametrize("plm", ["metaspace", "unigram", "wordpiece"])
def test_runs_of_white_space_take_no_more_tokens_than_in_the_source(tokens, plm):
    source = tokens["bytelevel"].definition.tokenizer
    target = replaced(tokens[plm], tokens["bytelevel"])
    runs = {t for t in source.get_vocab() if len(t) > 1 and {*t} <= {*"ĠĊĉ"}}
    assert runs <= target.definition.ids.keys()
    # What stands before two spaces stands before no word that begins without one.
    for spaces in ("\n   ", "\t  ", "    ", "\n\n      "):
        own, new = (
            [token for token in cut(each, f"x{spaces}y") if {*token} <= {*"ĠĊĉ"}]
            for each in (source, target.tokenizer)
        )
        assert "".join(new) == "".join(own)
        assert len(new) <= len(own)


def test_lines_begin_as_texts_do(tokens):
    for plm in ("metaspace", "unigram", "wordpiece"):
        tokenizer = replaced(tokens[plm], tokens["bytelevel"]).tokenizer
        assert cut(tokenizer, "das\nHaus") == ["Ġdas", "Ċ", "ĠHaus"]
        assert cut(tokenizer, "das\n Haus") == ["Ġdas", "Ċ", "Đ", "ĠHaus"]
        assert cut(tokenizer, "Haus") == cut(tokenizer, " das Haus")[-1:] == ["ĠHaus"]


def test_wordpiece_begins_words_behind_brackets_and_hyphens(tokens):
    tokenizer = replaced(tokens["wordpiece"], tokens["bytelevel"]).tokenizer
    assert cut(tokenizer, "(Haus)") == ["Ġ(", "ĠHaus", ")"]
    assert cut(tokenizer, "Haus-Haus, Haus.") == ["ĠHaus", "-", "ĠHaus", ",", "ĠHaus", "."]
    long = "x" * 1234
    assert back(tokenizer, long) == long


def digit_source(tokenizer: Tokenizer) -> Tokens:
    """A source as the byte-level one, but that takes digits one at a time."""
    definition = json.loads(tokenizer.to_str())
    model = definition["model"]
    pieces = [piece for piece in model["vocab"] if len(piece) == 1 or not re.search(r"\d", piece)]
    model["vocab"] = {piece: id for id, piece in enumerate(pieces)}
    model["merges"] = [pair for pair in model["merges"] if not re.search(r"\d", "".join(pair))]
    made = Tokenizer.from_str(json.dumps(definition))
    apart = pre_tokenizers.Digits(individual_digits=True)
    made.pre_tokenizer = pre_tokenizers.Sequence([apart, tokenizer.pre_tokenizer])
    return read(made)


@pytest.mark.parametrize("plm", FAMILIES)
def test_digits_are_cut_as_the_source_cuts_them(tokens, tokenizers_by_family, plm):
    source = digit_source(tokenizers_by_family["bytelevel"])
    assert digits_at_once(source.definition) == 1
    target = replaced(tokens[plm], source)
    found = cut(target.tokenizer, "Im Jahr 2024 für 3.980 Euro")
    assert [token for token in found if token[-1].isdigit()] == list("20243980")
    assert back(target.tokenizer, "a1234 56\n789 0") == "a1234 56\n789 0"
    assert not any(re.search(r"\d\d|Ġ\d", token) for token in target.definition.ids)
    assert "numbers go: the source takes digits in groups of 1; --set digits=plm" in target.notes[0]


@pytest.mark.parametrize("plm", ["unigram", "sentencepiece"])
@pytest.mark.parametrize("options", [{}, {"mode": "extend"}, {"digits": "plm"}], ids=str)
def test_numbers_that_are_never_made_take_no_place(
    tokens, tokenizers_by_family, tmp_path, plm, options
):
    (corpus := tmp_path / "de.txt").write_text("Im Jahr 2024 für 3.980 Euro")
    source, record = digit_source(tokenizers_by_family["bytelevel"]), {}
    config = RowsConfig(corpus=[corpus], **options)
    pruned, _ = prune_to_corpus(tokens[plm], source, config, len(tokens[plm].vocabulary), record)
    numbers = [form for form in pruned.vocabulary.forms if form and re.search(rb"\d", form.text)]
    are_made = all(len(form.text) == 1 and not form.begins_word for form in numbers)
    assert are_made == (options != {"digits": "plm"})
    assert bool(record["numbers_out_of_reach"]) == are_made


@pytest.mark.parametrize("plm", FAMILIES)
def test_digits_are_cut_as_the_plm_cuts_them_if_so_asked(tokens, tokenizers_by_family, plm):
    source, text = digit_source(tokenizers_by_family["bytelevel"]), "Im Jahr 2024 für 3.980 Euro"
    target = replaced(tokens[plm], source, digits="plm")
    found, before = (
        [re.sub(r"\D", "", token) for token in cut(each, text)]
        for each in (target.tokenizer, tokens[plm].definition.tokenizer)
    )
    assert [*filter(None, found)] == [*filter(None, before)] != list("20243980")
    assert not any("numbers go" in note for note in target.notes)
    for kept in (text, "a1234 56\n789 0", "x² ½", CODE, CHAT, *PROBES.values()):
        assert back(target.tokenizer, kept) == kept


def test_a_source_without_a_rule_leaves_digits_to_the_plm(tokens):
    assert digits_at_once(tokens["bytelevel"].definition) is None
    target = replaced(tokens["unigram"], tokens["bytelevel"])
    assert "Ġ2024" in cut(target.tokenizer, "Im Jahr 2024")


def test_line_breaks_stand_as_in_the_source(tokens, tokenizers_by_family):
    apart = tokens["bytelevel"]
    assert not joins_line_breaks(apart.definition)
    definition = json.loads(tokenizers_by_family["bytelevel"].to_str())
    definition["model"]["vocab"]["ĊĊ"] = len(definition["model"]["vocab"])
    definition["model"]["merges"].append(["Ċ", "Ċ"])
    joining = Tokenizer.from_str(json.dumps(definition))
    joining.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\s*[\r\n]+| ?\p{L}+|\s+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    together = read(joining)
    assert joins_line_breaks(together.definition)
    for source, expected in ((apart, ["Ċ", "Ċ"]), (together, ["ĊĊ"])):
        tokenizer = replaced(tokens["unigram"], source).tokenizer
        assert cut(tokenizer, "das\n\nHaus") == ["Ġdas", *expected, "ĠHaus"]


@pytest.mark.parametrize(
    ("normalizer", "reason", "kept"),
    [
        (normalizers.Lowercase(), "lower-cases text", "é\n\n  x"),
        (
            normalizers.BertNormalizer(lowercase=True),
            "lower-cases text and strips accents",
            "\te x",
        ),
        (normalizers.NFD(), "takes letters and their accents apart", "A\n x"),
    ],
)
def test_what_is_done_to_letters_is_refused_or_said(
    tokens, tokenizers_by_family, normalizer, reason, kept
):
    plm = read(edited(tokenizers_by_family["wordpiece"], normalizer=normalizer))
    with pytest.raises(VocabularyError, match=rf"(?s){reason}.*--set lossy=true"):
        replaced(plm, tokens["bytelevel"])
    target = replaced(plm, tokens["bytelevel"], lossy=True)
    assert f"cannot write all text: the PLM's tokenizer {reason}" in target.notes[-1]
    assert back(target.tokenizer, kept) == kept  # all but what is done to letters


def test_what_is_lossless_by_itself_stays_as_it_is(tokens, tokenizers_by_family):
    for family in FAMILIES:
        target = replaced(tokens[family], tokens[family])
        old = json.loads(tokenizers_by_family[family].to_str())
        new = json.loads(target.tokenizer.to_str())
        for part in ("normalizer", "pre_tokenizer", "decoder"):
            assert new[part] == old[part]
        assert (target.source_text_ids < 0).all()


def test_a_byte_level_plm_that_adds_or_rewrites_is_put_right(tokens, tokenizers_by_family):
    plm = edited(
        tokenizers_by_family["bytelevel"],
        normalizer=normalizers.NFC(),
        pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True),
    )
    target = replaced(read(plm), tokens["bytelevel"])
    for text in (CODE, CHAT, "e\u0301", " a", "a", "\na"):
        assert back(target.tokenizer, text) == text
    assert cut(target.tokenizer, "Haus") == cut(plm, "Haus")
