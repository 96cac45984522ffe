"""fastBPE's files, PhoBERT's and BERTweet's: cut as transformers' own classes cut them."""

import json

import pytest
import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from saltlm.errors import VocabularyError
from saltlm.tokenizer.counts import count_tokens
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.load import read_tokenizer
from saltlm.tokenizer.probes import PROBES
from saltlm.tokenizer.prune import prune_tokenizer
from saltlm.vocabulary_transfer.parents import with_between


@pytest.fixture
def write(tmp_path, corpus):
    """A function that writes fastBPE's files, with every so manieth piece left out."""

    def files(class_name="PhobertTokenizer", leave_out=10**9, **settings):
        tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        trainer = trainers.BpeTrainer(
            vocab_size=700, end_of_word_suffix="</w>", show_progress=False
        )
        tokenizer.train_from_iterator(corpus, trainer)
        model = json.loads(tokenizer.to_str())["model"]
        pieces = sorted(model["vocab"], key=model["vocab"].get)
        words = [p.removesuffix("</w>") if p.endswith("</w>") else p + "@@" for p in pieces]
        kept = [word for at, word in enumerate(words, 1) if at % leave_out]
        text = "".join(f"{word} {1000 - at}\n" for at, word in enumerate(kept))
        (tmp_path / "vocab.txt").write_text(text, encoding="utf-8")
        lines = [f"{a} {b} 1\n" for a, b in model["merges"]]
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
    assert 'set "normalization": false in tokenizer_config.json' in caught.value.hint
    write("BertweetTokenizer", normalization=False)
    assert read_tokenizer(directory).notes == ()


def test_a_file_of_another_format(write):
    directory, _ = write()
    (directory / "bpe.codes").write_text("#version\n")
    with pytest.raises(
        VocabularyError, match=r"bpe\.codes is not of fastBPE: a line is '#version'"
    ):
        read_tokenizer(directory)
