"""A run's own text as its teacher: what is counted, its gradient, and a whole run."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from adapt_models import batch_of, read_model, save_model, save_text, tiny_config
from saltlm.adaptation.adapt import adapt
from saltlm.adaptation.loss import cross_entropy
from saltlm.adaptation.ngram_teacher import NgramTeacher, ngram_teacher
from saltlm.adaptation.ngrams import mixed
from saltlm.adaptation.packing import Frame, PackedText

pytestmark = pytest.mark.usefixtures("quick")

N_IDS = 11


def packed(documents, name="text"):
    starts = np.cumsum([0, *map(len, documents)])
    tokens = np.array([id for ids in documents for id in ids], np.uint16)
    return PackedText(name, "", tokens, starts, starts)


def random_documents(n, seed=0):
    generator = np.random.default_rng(seed)
    return [
        [0, number % 9 + 2, *generator.integers(2, N_IDS, generator.integers(3, 12)).tolist()]
        for number in range(n)
    ]


@pytest.mark.parametrize(("frame", "end"), [(Frame(0, None), [0]), (Frame(0, 1), [])])
def test_documents_are_counted_with_their_end(frame, end):
    documents = random_documents(40)
    documents = documents if end else [[*ids, 1] for ids in documents]
    texts = packed(documents[:15]), packed([[3, 4, 5]]), packed(documents[15:])
    teacher = ngram_teacher(texts, (0.3, 0, 0.5), frame, N_IDS, 0.9)
    whole = [[*ids, *end] for ids in documents]
    pairs = {both for ids in whole for both in zip(ids, ids[1:], strict=False)}
    found = teacher.ngrams.levels[1]
    assert {divmod(key, N_IDS) for key in found.keys.tolist()} == pairs
    assert int(found.occurrences.sum()) == sum(len(ids) - 1 for ids in whole)
    assert teacher.n_tokens == sum(map(len, whole))
    assert teacher.ngrams.levels[0].count[0] == (0 if not end else len({w[-2] for w in whole}))


def test_of_long_texts_the_beginnings_are_counted_by_their_share(monkeypatch):
    monkeypatch.setattr("saltlm.adaptation.ngram_teacher._MOST", 100)
    documents = random_documents(200)
    texts = packed(documents[:100]), packed(documents[100:])
    teacher = ngram_teacher(texts, (0.9, 0.1), Frame(0, None), N_IDS, 1)
    read = [id for ids in documents[:100] for id in ids][:90]
    read += [id for ids in documents[100:] for id in ids][:10]
    assert teacher.n_tokens == 100 + read.count(0) - 2  # with the ends of whole documents
    occurrences = teacher.ngrams.levels[0].occurrences
    assert [int(n) for n in occurrences[2:]] == [read.count(id) for id in range(2, N_IDS)]


@pytest.mark.parametrize(("frame", "end"), [(Frame(0, None), []), (Frame(0, 1), [1])])
def test_a_document_that_comes_again_is_counted_once(frame, end):
    documents = [[*ids, *end] for ids in random_documents(40)]
    once = ngram_teacher([packed(documents)], [1.0], frame, N_IDS, 0.9)
    again = [documents[3], *documents, *documents[7:9]]
    for texts in ([packed(again)], [packed(documents[:20]), packed(again)]):
        twice = ngram_teacher(texts, [1.0] * len(texts), frame, N_IDS, 0.9)
        assert twice.n_tokens == once.n_tokens
        ids = torch.tensor([documents[7]])
        assert torch.equal(_predicted(twice, ids), _predicted(once, ids))


@pytest.mark.parametrize(("frame", "end"), [(Frame(0, None), []), (Frame(0, 1), [1])])
def test_only_what_is_counted_is_left_out(frame, end, monkeypatch):
    """Copies of counted documents are, wherever they stand; the rest of a long text is not."""
    documents = [[*ids, *end] for ids in random_documents(40)]
    texts = packed(documents), packed([[3, 4, 5]]), packed([*documents[20:], documents[1]])
    begins, cut = texts[0].starts, texts[0].starts[12] + 3  # inside a document
    monkeypatch.setattr("saltlm.adaptation.ngram_teacher._MOST", round(cut / 0.6))
    teacher = ngram_teacher(texts, (0.6, 0, 0.4), frame, N_IDS, 0.9)
    assert teacher.known.n_read.tolist() == [cut, 0, round(cut / 0.6 * 0.4)]

    def is_counted(number, source, place):
        ids = torch.tensor([[*documents[number], 0]])
        batch = batch_of(ids, torch.arange(len(documents[number]))[None], int(place), source)
        found = teacher.known.at(batch)
        predicted = teacher.targets(batch, torch.tensor([True]), share=1.0).places
        wanted = mixed(teacher.ngrams, ids, batch.positions, found)
        assert all(torch.equal(*both) for both in zip(predicted, wanted, strict=True))
        return found[0].tolist()

    for number in (0, 11):
        assert is_counted(number, 0, begins[number]) == [True] * len(documents[number])
    of_cut = is_counted(12, 0, begins[12])
    assert of_cut == [True] * 2 + [False] * (len(documents[12]) - 2)
    assert not any(is_counted(39, 0, begins[39]))
    assert all(is_counted(1, 2, texts[2].starts[-2]))  # a copy of one in the other text
    assert not any(is_counted(39, 2, texts[2].starts[-3]))
    assert not any(is_counted(28, 2, texts[2].starts[8]))  # where the first text is counted
    assert all(is_counted(25, 0, begins[25]))


def test_a_copy_that_is_cut_is_not_counted_again(monkeypatch):
    documents = random_documents(12)
    text = packed([*documents, documents[4]])
    monkeypatch.setattr("saltlm.adaptation.ngram_teacher._MOST", int(text.starts[12]) + 3)
    teacher = ngram_teacher([text], [1.0], Frame(0, None), N_IDS, 0.9)
    alone = ngram_teacher([packed(documents)], [1.0], Frame(0, None), N_IDS, 0.9)
    assert teacher.n_tokens == alone.n_tokens
    assert teacher.known.is_counted.all()


def test_that_another_document_begins_behind_an_end_is_not_taught():
    documents = [[*ids, 1] for ids in random_documents(9)]
    teacher = ngram_teacher([packed(documents)], [1.0], Frame(0, 1), N_IDS, 0.9)
    row = documents[0] + documents[1][:1]
    ids, positions = torch.tensor([row]), torch.arange(len(row) - 1)[None]
    share = teacher.targets(batch_of(ids, positions), torch.tensor([True]), share=0.9).share
    assert (share > 0).tolist() == [True] * (len(row) - 2) + [False]


def _predicted(teacher, ids):
    """Return the counts' prediction behind each token of one document."""
    positions = torch.arange(ids.shape[1] - 1)[None]
    found = torch.zeros(positions.numel(), N_IDS)
    soft = teacher.targets(batch_of(ids, positions), torch.tensor([True]), share=1.0)
    soft.subtract_from(found, slice(None))
    return -found


@pytest.mark.parametrize("in_cache", [22, 2**20])
def test_the_gradient_is_that_of_text_and_counts_mixed(in_cache, monkeypatch):
    monkeypatch.setattr("saltlm.adaptation.loss._IN_CACHE", in_cache)
    documents = random_documents(60)
    teacher = ngram_teacher([packed(documents)], [1.0], Frame(0, None), N_IDS, 0.9)
    row = documents[0] + documents[1] + documents[2][:1]
    ids = torch.tensor([row, row])
    places = [*range(len(documents[0])), *range(len(documents[1]))]
    positions = torch.tensor([places, places])
    soft = teacher.targets(batch_of(ids, positions), torch.tensor([True, False]), share=0.7)
    n = len(places)
    assert soft.share.tolist() == pytest.approx([0.7] * n + [0.0] * n)

    alone = (torch.tensor([[*ids, 0]]) for ids in documents[:2])
    of_counts = torch.cat([_predicted(teacher, ids) for ids in alone])
    target = nn.functional.one_hot(ids[:, 1:].flatten(), N_IDS).double()
    target[:n] = 0.3 * target[:n] + 0.7 * of_counts.double()
    generator = torch.Generator().manual_seed(0)
    inputs = [
        torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in [(2 * n, 5), (N_IDS, 5), (N_IDS,)]
    ]
    value = cross_entropy(*inputs, ids[:, 1:].flatten(), soft=soft)
    mixed = -(target * nn.functional.linear(*inputs).log_softmax(1)).sum()
    for a, b in zip(
        torch.autograd.grad(value, inputs), torch.autograd.grad(mixed, inputs), strict=True
    ):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_run_that_its_text_teaches(tmp_path):
    """It learns faster; English is not taught. That it goes on after a kill: test_processes."""
    text = save_text(tmp_path / "text.txt")
    model = save_model(tmp_path / "model")
    given = {"steps": 12, "heldout": {"target": text}, "eval_every": 12}
    plain = adapt(model, tmp_path / "plain", config=tiny_config(tmp_path, **given))
    given["teacher"] = "ngrams"
    taught = adapt(model, tmp_path / "taught", config=tiny_config(tmp_path, **given))
    assert taught.bits_per_byte["target"] < plain.bits_per_byte["target"] - 0.01
    record = json.loads((tmp_path / "taught/saltlm/run.json").read_text())
    assert record["inputs"]["teacher"] == "ngrams of order 5, each document once"

    english = save_text(tmp_path / "english.txt")
    given |= {"english": [str(english)], "english_share": 0.999}
    asked = adapt(model, tmp_path / "english", config=tiny_config(tmp_path, **given))
    del given["teacher"]
    alone = adapt(model, tmp_path / "alone", config=tiny_config(tmp_path, **given))
    both = (read_model(run.directory)["model.safetensors"] for run in (asked, alone))
    assert len(set(both)) == 1


def test_tokens_that_counts_must_teach_get_them_and_keep_them(tmp_path, monkeypatch, caplog):
    """Without being asked, also when the run becomes longer than a short one; but not after no."""
    save_text(tmp_path / "text.txt")
    model = save_model(tmp_path / "model")
    monkeypatch.setattr("saltlm.adaptation.prepare.tokens_want_ngrams", lambda _: True)

    def run(name, steps, **options):
        adapt(model, tmp_path / name, config=tiny_config(tmp_path, steps=steps, **options))
        return json.loads((tmp_path / name / "saltlm/run.json").read_text())["inputs"]

    assert run("taught", 4)["teacher"] == "ngrams of order 5, each document once"
    monkeypatch.setattr("saltlm.adaptation.short_runs.ngrams_teach", lambda _: False)
    assert run("taught", 6)["teacher"] == "ngrams of order 5, each document once"
    assert "must teach them" not in caplog.text
    assert "teacher" not in run("long", 2)
    assert "the new tokens are so many that n-grams of the text must teach them" in caplog.text
    monkeypatch.undo()
    monkeypatch.setattr("saltlm.adaptation.prepare.tokens_want_ngrams", lambda _: True)
    assert "teacher" not in run("long", 4)  # it began without
    assert "teacher" not in run("no", 2, teacher="none")


def test_a_training_of_english_alone_counts_nothing():
    teacher = ngram_teacher([packed(random_documents(9))], [0.0], Frame(0, None), N_IDS, 0.9)
    assert (teacher.n_tokens, teacher.known.n_read.tolist()) == (0, [0])


def test_what_it_says_of_itself():
    teacher = ngram_teacher([packed(random_documents(30))], [1.0], Frame(0, None), N_IDS, 0.9)
    assert isinstance(teacher, NgramTeacher)
    assert str(teacher).startswith(f"{teacher.n_tokens:,} tokens of the text teach: what their ")
