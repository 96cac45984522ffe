"""A teacher: its targets by hand in float64, what it may teach, and runs with one."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
)

from adapt_models import N_TOKENS, batch_of, read_model, save_model, save_text, tiny_config
from saltlm.adaptation import engine
from saltlm.adaptation.adapt import adapt
from saltlm.adaptation.loss import cross_entropy
from saltlm.adaptation.objective import CAUSAL
from saltlm.adaptation.packing import Frame, frame_of
from saltlm.adaptation.teacher import (
    Teacher,
    TeacherTargets,
    _counterparts,
    _framed,
    read_teacher,
)
from saltlm.errors import CheckpointError, ConfigError, TrainingError
from saltlm.models.logits import LogitTransform
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.prune import prune_tokenizer
from saltlm.tokenizer.vocabulary import Form, read_vocabulary

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def text(tmp_path):
    return save_text(tmp_path / "text.txt")


def random_soft(generator, *, bias, share=None):
    """What a teacher of width 3 says of 6 of 11 tokens at 7 positions."""

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return TeacherTargets(
        hidden=draw(7, 3),
        weight=draw(6, 3),
        bias=draw(6) if bias else None,
        transform=LogitTransform(0.7),
        ids=torch.tensor([9, 0, 4, 10, 3, 7]),
        share=torch.rand(7, generator=generator, dtype=torch.float64) if share is None else share,
    )


@pytest.mark.parametrize("transform", [LogitTransform(), LogitTransform(1.7, 0.9)])
@pytest.mark.parametrize("rows", [1, 4, 7])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("in_cache", [22, 2**20])
def test_the_gradient_is_that_of_text_and_teacher_mixed(
    transform, rows, in_cache, monkeypatch, bias
):
    monkeypatch.setattr("saltlm.adaptation.loss._IN_CACHE", in_cache)
    generator = torch.Generator().manual_seed(0)
    soft = random_soft(generator, bias=bias)
    inputs = [
        torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in [(7, 5), (11, 5), (11,)]
    ]
    targets = torch.randint(11, (7,), generator=generator)
    value = cross_entropy(*inputs, targets, transform=transform, chunk_logits=11 * rows, soft=soft)
    assert value.item() == pytest.approx(
        cross_entropy(*inputs, targets, transform=transform).item(), rel=1e-14
    )

    # The whole target as a matrix, made in numpy.
    by_hand = 0.7 * (soft.hidden.numpy() @ soft.weight.numpy().T)
    by_hand = np.exp(by_hand + (0.7 * soft.bias.numpy() if bias else 0))
    share = soft.share.numpy()[:, None]
    wanted = np.zeros((7, 11))
    wanted[:, soft.ids] = share * by_hand / by_hand.sum(1, keepdims=True)
    wanted[np.arange(7), targets] += 1 - share[:, 0]
    logits = transform(nn.functional.linear(*inputs))
    mixed = -(torch.from_numpy(wanted) * logits.log_softmax(1)).sum()
    for a, b in zip(
        torch.autograd.grad(value, inputs), torch.autograd.grad(mixed, inputs), strict=True
    ):
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-12)


def test_without_a_share_it_is_the_text_alone():
    generator = torch.Generator().manual_seed(1)
    soft = random_soft(generator, bias=True, share=torch.zeros(7, dtype=torch.float64))
    hidden = torch.randn(7, 5, generator=generator, dtype=torch.float64).requires_grad_()
    weight = torch.randn(11, 5, generator=generator, dtype=torch.float64)
    targets = torch.arange(7)
    taught = cross_entropy(hidden, weight, None, targets, soft=soft)
    alone = cross_entropy(hidden, weight, None, targets)
    assert torch.equal(*(torch.autograd.grad(loss, hidden)[0] for loss in (taught, alone)))


def opened(model, teacher, text, **options):
    """Return a model, and its teacher as a run has it."""
    config = tiny_config(text.parent, teacher=str(teacher), **options)
    loaded = AutoModelForCausalLM.from_pretrained(model).eval()
    tokenizer = AutoTokenizer.from_pretrained(model)
    return loaded, read_teacher(model, tokenizer, frame_of(loaded, tokenizer), config, CAUSAL)


def renumbered(model, directory):
    """Write a model again with its tokens in another order."""
    shutil.copytree(model, directory)
    order = torch.randperm(N_TOKENS, generator=torch.Generator().manual_seed(3))
    file = directory / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    tokens = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {token: int(order[id]) for token, id in tokens.items()}
    for token in tokenizer["added_tokens"]:
        token["id"] = int(order[token["id"]])
    file.write_text(json.dumps(tokenizer))
    loaded = AutoModelForCausalLM.from_pretrained(model)
    with torch.no_grad():
        rows = loaded.get_input_embeddings().weight
        rows[order] = rows[:N_TOKENS].clone()
    loaded.config.bos_token_id = loaded.config.eos_token_id = int(order[0])
    loaded.save_pretrained(directory)
    return directory


def some_text(n_rows=2, length=13):
    ids = 5 + torch.randperm(n_rows * length, generator=torch.Generator().manual_seed(0))
    ids = ids.unflatten(0, (n_rows, length))
    positions = torch.tensor([[*range(5), *range(length - 6)]]).expand(n_rows, -1)
    return ids, positions


EVERY = torch.tensor([True, True])


def test_what_it_predicts_is_read_through_the_tokens_that_both_have(tmp_path, text):
    """A teacher whose tokens have other ids teaches as one with the model's own."""
    model = save_model(tmp_path / "model")
    ids, positions = some_text()
    loaded, own = opened(model, model, text)
    _, other = opened(model, renumbered(model, tmp_path / "renumbered"), text)
    assert own.alike == other.alike == 1.0
    logits = loaded(input_ids=ids[:, :-1], position_ids=positions, use_cache=False).logits
    expected = 0.9 * logits[..., own.ids].softmax(-1).flatten(0, 1)
    assert N_TOKENS - 5 < len(own.ids) <= N_TOKENS  # all but special ones
    for teacher in (own, other):
        assert torch.equal(teacher.ids, own.ids)
        soft = teacher.targets(batch_of(ids, positions), EVERY, share=0.9)
        found = torch.zeros(24, N_TOKENS)
        soft.subtract_from(found, slice(None))
        assert torch.allclose(-found[:, own.ids], expected, atol=1e-6)
        assert (soft.share == 0.9).all()


def test_a_short_teacher_reads_in_windows(tmp_path, text):
    model = save_model(tmp_path / "model")
    ids, positions = some_text()
    _, teacher = opened(model, model, text)
    window = replace(teacher, context=7)
    found = window.targets(batch_of(ids, positions), EVERY, share=0.5).hidden.unflatten(0, (2, 12))
    for part in (slice(0, 7), slice(7, 12)):
        where = positions[:, part] if part.start == 0 else torch.arange(5).expand(2, -1)
        there = torch.cat([ids[:, part], ids[:, part.stop : part.stop + 1]], 1)
        alone = teacher.targets(batch_of(there, where), EVERY, share=0.5).hidden.unflatten(
            0, (2, -1)
        )
        assert torch.allclose(found[:, part], alone, atol=1e-6)


def test_it_teaches_nothing_behind_a_token_that_it_does_not_have(tmp_path, text):
    model = save_model(tmp_path / "model")
    ids, positions = some_text(1)  # documents of 5 and 7 tokens, and one token that follows
    _, teacher = opened(model, model, text)

    def shares(*unknown):
        inputs = teacher.inputs.clone()
        inputs[ids[0, list(unknown)]] = -1
        kept = torch.isin(teacher.ids, ids[0, list(unknown)], invert=True)
        known = replace(teacher, inputs=inputs, ids=teacher.ids[kept], rows=teacher.rows[kept])
        return (
            (known.targets(batch_of(ids, positions), EVERY[:1], share=0.5).share > 0)
            .long()
            .tolist()
        )

    assert len(set(ids[0].tolist())) == 13
    assert shares() == [1] * 12
    assert shares(2) == [1, 0, 0, 0, 0] + [1] * 7  # not as a target, nor behind it
    assert shares(8) == [1] * 5 + [1, 1, 0, 0, 0, 0, 0]
    assert shares(12) == [1] * 11 + [0]  # it is read by nobody

    both = batch_of(torch.cat([ids, ids + 40]), positions.expand(2, -1))
    half = teacher.targets(both, torch.tensor([False, True]), share=0.5)
    assert (half.share > 0).tolist() == [False] * 12 + [True] * 12
    whole = teacher.targets(both, EVERY, share=0.5)
    assert torch.allclose(half.hidden[12:], whole.hidden[12:], atol=1e-6)
    assert not half.hidden[:12].any()


def test_a_letter_that_it_lacks_is_no_byte_that_it_has(tokenizers_by_family):
    """Each of its rows stands for one token of the model, of the same kind."""
    whole = Definition.of(tokenizers_by_family["sentencepiece"])
    counts = torch.ones(1 + max(whole.ids.values()), dtype=torch.int64)
    letter = next(token for token in "qxyzQXYZ" if token in whole.ids)
    counts[[id for token, id in whole.ids.items() if letter in token]] = 0
    own = read_vocabulary(whole, special=["<s>"])
    its = read_vocabulary(prune_tokenizer(whole, counts).definition, special=["<s>"])
    assert Form(letter.encode(), False) in its.forms  # as a byte
    found = _counterparts(own, its, len(its))
    assert found[whole.ids[letter]] == -1
    known = found[found >= 0]
    assert len(known.unique()) == len(known)
    for id, same in enumerate(found.tolist()):
        assert same < 0 or (own.forms[id], own.kinds[id]) == (its.forms[same], its.kinds[same])


@pytest.mark.parametrize("frame", [Frame(5, None), Frame(5, 6)])
@pytest.mark.parametrize("other", [Frame(2, None), Frame(2, 3)])
def test_what_stands_around_a_document_is_the_teacher_s_own(frame, other):
    inputs, outputs = _framed(torch.arange(20), frame, other)
    end = 2 if other.end is None else 3
    assert inputs[frame.start] == 2
    if frame.end is None:  # what comes behind a document is that another one begins
        assert outputs[frame.start] == end
    else:
        assert inputs[6] == outputs[6] == end
        assert outputs[5] == -1
    rest = [id for id in range(20) if id not in (frame.start, frame.end)]
    assert inputs[rest].tolist() == outputs[rest].tolist() == rest


def test_a_taught_model_comes_nearer_to_its_teacher(tmp_path, text, monkeypatch):
    """And a killed run ends with the same bytes; English is not taught."""
    teacher = adapt(
        save_model(tmp_path / "first"), tmp_path / "teacher", config=tiny_config(tmp_path, steps=60)
    ).directory
    model = save_model(tmp_path / "model")
    given = {"steps": 12, "heldout": {"target": text}, "eval_every": 12}
    plain = adapt(model, tmp_path / "plain", config=tiny_config(tmp_path, **given))
    given["teacher"] = str(teacher)
    taught = adapt(model, tmp_path / "taught", config=tiny_config(tmp_path, **given))
    assert taught.bits_per_byte["target"] < plain.bits_per_byte["target"] - 0.02

    out = tmp_path / "killed"
    step = engine.train_step

    def killed(run, training, stage, number):
        if number == 7:
            raise KeyboardInterrupt
        return step(run, training, stage, number)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "train_step", killed)
        with pytest.raises(KeyboardInterrupt):
            adapt(model, out, config=tiny_config(tmp_path, **given))
    adapt(model, out, config=tiny_config(tmp_path, **given))
    assert read_model(out)["model.safetensors"] == read_model(taught.directory)["model.safetensors"]

    english = save_text(tmp_path / "english.txt")
    given |= {"english": [str(english)], "english_share": 0.999}
    asked = adapt(model, tmp_path / "english", config=tiny_config(tmp_path, **given))
    del given["teacher"]
    alone = adapt(model, tmp_path / "alone", config=tiny_config(tmp_path, **given))
    both = (read_model(run.directory)["model.safetensors"] for run in (asked, alone))
    assert len(set(both)) == 1


def test_its_share_falls_linearly_to_nothing(tmp_path, text, monkeypatch):
    model, seen, targets = save_model(tmp_path / "model"), [], Teacher.targets

    def watched(*args, share):
        seen.append(share)
        return targets(*args, share=share)

    monkeypatch.setattr(Teacher, "targets", watched)
    given = {"teacher": str(model), "teacher_share": 0.8, "steps": 4}
    adapt(model, tmp_path / "out", config=tiny_config(tmp_path, **given))
    assert sorted(set(seen), reverse=True) == pytest.approx([0.8, 0.6, 0.4, 0.2])


def test_a_run_with_another_teacher_is_another_run(tmp_path, text):
    model = save_model(tmp_path / "model")
    teacher = save_model(tmp_path / "teacher", hidden_size=8)
    given = tiny_config(tmp_path, teacher=str(teacher))
    adapt(model, tmp_path / "out", config=given)
    record = json.loads((tmp_path / "out/saltlm/run.json").read_text())
    assert len(record["inputs"]["teacher"]) == 64
    shutil.rmtree(teacher)
    save_model(teacher, hidden_size=12)
    with pytest.raises(TrainingError, match="other settings: inputs.teacher was"):
        adapt(model, tmp_path / "out", config=given)
    shutil.rmtree(teacher)
    save_model(teacher, hidden_size=8)
    elsewhere = teacher.rename(tmp_path / "elsewhere")  # the same one
    adapt(model, tmp_path / "out", config=tiny_config(tmp_path, teacher=str(elsewhere)))


def test_a_run_without_a_teacher_goes_on_from_before_there_were_any(tmp_path, text):
    adapt(save_model(tmp_path / "model"), tmp_path / "out", config=tiny_config(tmp_path))
    record = json.loads((tmp_path / "out/saltlm/run.json").read_text())
    assert not {"teacher", "teacher_share"} & record["options"].keys()
    assert "teacher" not in record["inputs"]


def test_a_teacher_with_other_tokens_is_refused(tmp_path, text):
    model = save_model(tmp_path / "model")
    other = save_model(tmp_path / "other")
    file = other / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    tokenizer["model"]["merges"] = tokenizer["model"]["merges"][:40]  # it cuts into small pieces
    file.write_text(json.dumps(tokenizer))
    with pytest.raises(ConfigError, match=r"cuts \d+% of the text's tokens as") as refused:
        opened(model, other, text)
    assert f"--tokenizer-of {model} " in refused.value.hint


def test_a_teacher_that_does_not_predict_is_refused(tmp_path, text):
    model = save_model(tmp_path / "model")
    bert = tmp_path / "bert"
    BertForMaskedLM(
        BertConfig(vocab_size=900, hidden_size=16, num_attention_heads=2, num_hidden_layers=1)
    ).save_pretrained(bert)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(model / name, bert / name)
    with pytest.raises(CheckpointError, match="bert cannot be the teacher: it does not predict"):
        opened(model, bert, text)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="empty has no config.json"):
        opened(model, tmp_path / "empty", text)


def test_a_teacher_of_few_positions_teaches(tmp_path, text):
    """It is tried with no more tokens than it reads, and taken for one that crosses documents."""
    model = save_model(tmp_path / "model")
    config = GPT2Config(vocab_size=900, n_positions=6, n_embd=8, n_layer=1, n_head=2)
    short = tmp_path / "short"
    GPT2LMHeadModel(config).save_pretrained(short)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(model / name, short / name)
    _, teacher = opened(model, short, text)
    assert (teacher.context, teacher.can_mask) == (6, False)
    ids, positions = some_text()
    assert teacher.targets(batch_of(ids, positions), EVERY, share=0.5).hidden.shape == (24, 8)
