"""Vocabularies that mark what goes on (PhoBERT, CTRL): cut as transformers' classes cut them."""

import json
import re

import pytest
import torch
import transformers as hf
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from saltlm.errors import VocabularyError
from saltlm.tokenizer.counts import count_tokens
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.load import read_tokenizer
from saltlm.tokenizer.probes import PROBES
from saltlm.tokenizer.prune import prune_tokenizer
from saltlm.vocabulary_transfer.parents import with_between


@pytest.fixture(scope="module")
def trained(corpus):
    """A function that trains on texts, and gives the words of a vocabulary and the merges."""

    def train(texts, word=r"\S+"):
        tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(word), "removed", invert=True)
        trainer = trainers.BpeTrainer(
            vocab_size=700, end_of_word_suffix="</w>", show_progress=False
        )
        tokenizer.train_from_iterator(texts, trainer)
        model = json.loads(tokenizer.to_str())["model"]
        pieces = sorted(model["vocab"], key=model["vocab"].get)
        words = [p.removesuffix("</w>") if p.endswith("</w>") else p + "@@" for p in pieces]
        return words, model["merges"]

    return train


@pytest.fixture
def write(tmp_path, corpus, trained):
    """A function that writes fastBPE's files, with every so manieth piece left out."""

    def files(class_name="PhobertTokenizer", leave_out=10**9, **settings):
        words, merges = trained(corpus)
        kept = [word for at, word in enumerate(words, 1) if at % leave_out]
        text = "".join(f"{word} {1000 - at}\n" for at, word in enumerate(kept))
        (tmp_path / "vocab.txt").write_text(text, encoding="utf-8")
        lines = [f"{a} {b} 1\n" for a, b in merges]
        (tmp_path / "bpe.codes").write_text("".join(lines), encoding="utf-8")
        config = {"model_type": "roberta", "vocab_size": 5 + len(kept)}
        (tmp_path / "config.json").write_text(json.dumps(config))
        settings["tokenizer_class"] = class_name
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
        return tmp_path, 5 + len(kept)

    return files


@pytest.mark.parametrize("class_name", ["PhobertTokenizer", "BertweetTokenizer"])
@pytest.mark.parametrize("leave_out", [10**9, 7])
def test_cut_as_the_class_in_python_cuts(write, corpus, class_name, leave_out):
    directory, n_rows = write(class_name, leave_out)
    read = read_tokenizer(directory)
    original = getattr(hf, class_name).from_pretrained(directory)
    assert bool(read.between) == (leave_out == 7)
    assert read.tokenizer.token_to_id("<mask>") == original.mask_token_id == n_rows - 1
    same = 0
    # The class glues a line break to the word before it.
    texts = [" ".join(text.split()) for text in (*corpus, *PROBES.values())]
    for text in [*texts, *" ".join(texts).split()]:
        found = read.tokenizer.encode(text, add_special_tokens=False).ids
        expected = original.encode(text, add_special_tokens=False)
        unknown = original.unk_token_id
        if leave_out > 7:
            assert found == expected
        elif unknown not in expected:
            same += 1
            assert found == expected
        else:  # what it does not know is unknown, or a piece that merges pass through
            assert len(found) == len(expected)
            assert all(a == b for a, b in zip(found, expected, strict=True) if b != unknown)
    assert leave_out > 7 or same > 20
    assert read.tokenizer.decode(read.tokenizer.encode("ngôi nhà mới").ids) == "ngôi nhà mới"


def test_added_tokens_keep_their_ids_before_pieces_between(write):
    directory, n_rows = write(leave_out=3)
    (directory / "added_tokens.json").write_text(json.dumps({"<new>": n_rows}))
    read = read_tokenizer(directory)
    assert read.tokenizer.encode("das<new>").tokens.count("<new>") == 1
    assert read.tokenizer.token_to_id("<new>") == n_rows
    assert min(id for id, _, _ in read.between) == n_rows + 1


def test_pieces_between_get_the_mean_of_their_parts(write):
    directory, n_rows = write(leave_out=3)
    read = read_tokenizer(directory)
    assert [id for id, _, _ in read.between] == list(range(n_rows, n_rows + len(read.between)))
    table = torch.randn(n_rows, 4, generator=torch.Generator().manual_seed(0))
    rows = with_between(table, read.between)
    assert torch.equal(rows[:n_rows], table)
    assert len(rows) == 1 + max(read.tokenizer.get_vocab().values())
    for id, left, right in read.between:
        assert torch.equal(rows[id], (rows[left] + rows[right]) / 2)
        if left != right:
            parts = (read.tokenizer.id_to_token(part) for part in (left, right))
            assert "".join(parts) == read.tokenizer.id_to_token(id)
    assert with_between(table, ()) is table


def test_pruned_to_a_corpus_it_is_cut_as_before(write, corpus):
    directory, _ = write()
    made = read_tokenizer(directory).tokenizer
    german = corpus[6:12]
    pruned = prune_tokenizer(Definition.of(made), count_tokens(made, german))
    assert len(pruned.kept) < made.get_vocab_size() - 200
    for text in german:
        assert pruned.tokenizer.encode(text).tokens == made.encode(text).tokens


def test_a_class_that_rewrites_text_is_refused_until_it_does_not(write):
    directory, _ = write("BertweetTokenizer", normalization=True)
    with pytest.raises(
        VocabularyError, match="the BertweetTokenizer of .* rewrites text"
    ) as caught:
        read_tokenizer(directory)
    way = re.match(r'set ("normalization": \w+) in tokenizer_config\.json;', caught.value.hint)
    write("BertweetTokenizer", **json.loads(f"{{{way[1]}}}"))
    assert read_tokenizer(directory).notes == ()


def test_a_file_of_another_format(write):
    directory, _ = write()
    (directory / "bpe.codes").write_text("#version\n")
    with pytest.raises(
        VocabularyError, match=r"bpe\.codes is of another format: a line is '#version'"
    ):
        read_tokenizer(directory)


BITS = st.sampled_from(
    [*("das ", "Haus", "house", "don't ", "Die", " neu", "E", "a", "x", ".", ",", "!", "(", ")")]
    + ["'", "\n", "\n\n", " \n", "\t", "  ", "\r\n", "__newln__", "__unk__", "<unk>", "@@", "é"]
)


@pytest.fixture(scope="module", params=["CTRLTokenizer", "BlenderbotSmallTokenizer"])
def of_merges(request, tmp_path_factory, trained, corpus):
    """Our tokenizer of vocab.json and merges.txt, and the class in Python."""
    directory, class_name = tmp_path_factory.mktemp("merges"), request.param
    texts = [*corpus, *(f"{text}\n" for text in corpus)]
    if class_name.startswith("Blenderbot"):
        texts = [re.sub(r"([.,!?()'])", r" \1 ", text.lower()) + " __newln__" for text in corpus]
    words, merges = trained(texts, r"\S+\n?")
    known = ["__null__", "__start__", "__end__", "__unk__"]
    if class_name == "CTRLTokenizer":
        known = ["<unk>"]
    ids = {word: id for id, word in enumerate([*known, *words])}
    (directory / "vocab.json").write_text(json.dumps(ids))
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges if "\n" not in a + b)]
    (directory / "merges.txt").write_text("\n".join([*lines, ""]))
    (directory / "config.json").write_text("{}")
    settings = json.dumps({"tokenizer_class": class_name})
    (directory / "tokenizer_config.json").write_text(settings)
    return read_tokenizer(directory), getattr(hf, class_name).from_pretrained(directory)


@given(text=st.lists(BITS, max_size=12).map("".join))
def test_merges_are_cut_as_the_class_in_python_cuts(of_merges, text):
    read, original = of_merges
    assert read.tokenizer.encode(text).ids == original(text)["input_ids"]


def test_merges_stand_for_all_of_the_class(of_merges, corpus):
    read, original = of_merges
    assert (read.notes, read.between) == ((), ())
    for text in corpus:
        ids = original(text)["input_ids"]
        assert read.tokenizer.encode(text).ids == ids
        assert original.unk_token_id not in ids
    assert read.tokenizer.decode(read.tokenizer.encode("das neue haus").ids) == "das neue haus"
