"""Every way in which a run stops has its message, and leaves what it had."""

import errno
import json
import re
import shutil
import sys
from collections import namedtuple
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import pytest
import torch
from transformers import AutoModelForCausalLM

from adapt_models import save_model, save_text, tiny_config
from saltlm.adaptation import adapt as verb
from saltlm.adaptation import checkpoints, devices, prepare, training
from saltlm.adaptation import engine as loop
from saltlm.adaptation import stops as safety
from saltlm.adaptation import write_model as finish
from saltlm.adaptation.adapt import adapt
from saltlm.adaptation.config import load_adapt_config
from saltlm.adaptation.objective import CAUSAL
from saltlm.adaptation.run_folder import RunFolder, only_run
from saltlm.cli.main import cli
from saltlm.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    MissingExtraError,
    OutputError,
    TrainingError,
    VocabularyError,
)

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def model(tmp_path):
    save_text(tmp_path / "text.txt")
    return save_model(tmp_path / "model")


def done_as(hint, verb, *folders, **options):
    """Adapt as a hint says to the verb, or to any."""
    words = re.sub(rf"saltlm (?!{verb})\w+ [^;)]*", "", hint)
    assignments = re.findall(r"--set (\w[\w.]*=[\w.\[\]]+)", words)
    resume = re.search(r"--resume ([^\s;]+)", words)
    config = load_adapt_config(tiny_config(folders[0].parent, **options), assignments)
    return adapt(*folders, config=config, resume=resume[1] if resume else "auto")


def kept(out):
    return checkpoints.find(out / "saltlm" / "checkpoints")


def test_not_a_number_stops_the_run_and_keeps_the_last_good(tmp_path, model, monkeypatch):
    out, real = tmp_path / "out", training._accumulate

    def breaks_in_step_4(run, state, step):
        loss = real(run, state, step)
        return float("nan") if step == 3 else loss

    with monkeypatch.context() as patch:
        patch.setattr(training, "_accumulate", breaks_in_step_4)
        with pytest.raises(
            TrainingError, match="step 4 has loss nan .* sequences 24 to 31"
        ) as caught:
            adapt(model, out, config=tiny_config(tmp_path))
    assert [path.name for path in kept(out)] == ["step-00000002"]
    assert str(tmp_path / "text.txt") in caught.value.what
    hint = caught.value.hint
    assert hint.endswith(f"with --resume {kept(out)[0]}")
    assert "saltlm pretrain --set learning_rate=0.0015)" in hint
    assert not (out / "config.json").exists()
    assert done_as(hint, "adapt", model, out).n_steps == 4
    rates = json.loads((out / "saltlm" / "run.json").read_text())["options"]["lr"]
    assert rates == {"new": 5e-3, "shared": 1.5e-3, "body": 1.5e-3}
    (kept(out)[-1] / "weights.safetensors").write_bytes(b"half")
    again = partial(done_as, hint.partition(", and")[0], "adapt", model, out)
    with pytest.raises(TrainingError, match="is not a whole checkpoint") as caught:
        again()
    assert caught.value.hint.startswith("remove it, and the same command goes on from the one")
    shutil.rmtree(kept(out)[-1])
    assert again().n_steps == 4


def test_not_a_number_in_the_first_step_begins_anew(tmp_path, model, monkeypatch):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(training, "_accumulate", lambda *_: float("nan"))
        with pytest.raises(TrainingError, match="step 1 has loss nan") as caught:
            adapt(model, out, config=tiny_config(tmp_path, steps=1))
    assert done_as(caught.value.hint, "adapt", model, out, steps=1).n_steps == 1


def test_a_full_disk_keeps_the_last_good(tmp_path, model, monkeypatch):
    out, real = tmp_path / "out", checkpoints.save_file

    def full(tensors, file):
        if kept(out):
            file.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        real(tensors, file)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save_file", full)
        with pytest.raises(
            OutputError, match="No space left on device .*: step-00000004"
        ) as caught:
            adapt(model, out, config=tiny_config(tmp_path))
    assert [path.name for path in kept(out)] == ["step-00000002"]
    assert f"goes on from {kept(out)[0]}" in caught.value.hint
    assert adapt(model, out, config=tiny_config(tmp_path)).n_steps == 4
    assert not (out / "saltlm" / "checkpoints" / ".partial").exists()


def test_too_little_space_is_seen_before_writing(tmp_path, model, monkeypatch):
    Usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(100, 90, 10))
    with pytest.raises(OutputError, match=r"0\.00 GB free\): step-00000001 .* is not written"):
        adapt(model, tmp_path / "out", config=tiny_config(tmp_path, steps=1))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("x"),
        MemoryError(),
        RuntimeError("can't allocate memory: 9"),
        RuntimeError("MPS backend out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_out_of_memory_names_what_to_lower(tmp_path, error):
    message = (
        "out of memory in step 3 with micro_batch=4, sequence_length=8 and loss_chunk=9120\n"
        "hint: lower one of the three: --set micro_batch=2; saltlm adapt --set loss_chunk=4560 "
    )
    with (
        pytest.raises(TrainingError, match=message),
        safety.memory_errors("step 3", tiny_config(tmp_path)),
    ):
        raise error


def test_other_errors_are_not_taken_for_memory(tmp_path):
    with (
        pytest.raises(RuntimeError, match="shape"),
        safety.memory_errors("step 3", tiny_config(tmp_path)),
    ):
        raise RuntimeError("shape mismatch")


def test_rows_that_changed_are_not_saved(tmp_path, model, monkeypatch):
    monkeypatch.setattr(training, "row_rates", lambda tables: nullcontext())
    monkeypatch.setattr(training, "mask_gradients", lambda tables: None)
    with pytest.raises(TrainingError, match="rows that must not learn have changed by step 2"):
        adapt(model, tmp_path / "out", config=tiny_config(tmp_path, stages=["embeddings"]))
    assert kept(tmp_path / "out") == []


def test_a_model_that_does_not_read_back_is_not_published(tmp_path, model, monkeypatch):
    real = AutoModelForCausalLM.from_pretrained

    def damaged(*args, **named):
        loaded = real(*args, **named)
        loaded.model.norm.weight.data[0] += 1
        return loaded

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", damaged)
    message = "does not read back as it was written: 1 tensors differ, such as model.norm.weight"
    with pytest.raises(OutputError, match=message):
        finish._check_same(real(model), model, AutoModelForCausalLM, trust_remote_code=False)


def test_places_that_are_taken(tmp_path, model):
    with pytest.raises(OutputError, match="model exists and is not a run of saltlm"):
        adapt(model, model, config=tiny_config(tmp_path))
    out = tmp_path / "out"
    with only_run(RunFolder(out)), pytest.raises(OutputError, match="written by another run"):
        adapt(model, out, config=tiny_config(tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file exists and is not a run"):
        adapt(model, tmp_path / "file", config=tiny_config(tmp_path))
    with pytest.raises(OutputError, match="cannot write .*out: Not a directory"):
        adapt(model, tmp_path / "file" / "out", config=tiny_config(tmp_path))


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (
            {"sequence_length": 128, "batch_tokens": 128 * 7},
            ConfigError,
            "more than the model's 64 pos",
        ),
        ({"sequence_length": 64, "data": {"SMALL": None}}, DataError, "fewer than one sequence"),
        ({"heldout": {"x": "EMPTY"}}, DataError, "--heldout has no text .EMPTY."),
        ({"trackers": ("wandb",)}, ConfigError, "the tracker wandb is not installed\nhint: pip"),
    ],
)
def test_inputs_that_do_not_fit(tmp_path, model, monkeypatch, options, kind, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "EMPTY").write_text("")
    (tmp_path / "SMALL").write_text("Das Haus.\n")
    with pytest.raises(kind, match=message) as caught:
        adapt(model, tmp_path / "out", config=tiny_config(tmp_path, **options))
    assert not (tmp_path / "out" / "config.json").exists()
    if "--set" in caught.value.hint:
        done = done_as(caught.value.hint, "adapt", model, tmp_path / "out", **options, steps=1)
        assert done.context <= 64


def test_a_tokenizer_beyond_the_embedding_is_refused(tmp_path):
    model = save_model(tmp_path / "small", vocab_size=800)
    with pytest.raises(CheckpointError, match="has 900 tokens, but the embedding 800 rows"):
        adapt(model, tmp_path / "out", config=tiny_config(tmp_path))


def test_damaged_models_are_named(tmp_path, model):
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "vocab_size": 800}))
    with pytest.raises(CheckpointError, match="is 912 x 16, not 800 x 16"):
        adapt(model, tmp_path / "out", config=tiny_config(tmp_path))
    (model / "config.json").write_text(json.dumps(config))
    weights = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"model.safetensors .* is corrupt or truncated"):
        adapt(model, tmp_path / "out", config=tiny_config(tmp_path))
    (model / "model.safetensors").write_bytes(weights)
    (model / "tokenizer.json").write_text("{")
    with pytest.raises(VocabularyError, match=r"tokenizer.json cannot be loaded: EOF"):
        adapt(model, tmp_path / "out", config=tiny_config(tmp_path))


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"stages": ["full:0.9", "lora"]}, MissingExtraError, "stage lora needs the 'lora' extra"),
        ({"stages": ["top-bottom"]}, CheckpointError, "LlamaForCausalLM has no list of 3 layers"),
        ({"checkpointing": True}, ConfigError, "LlamaForCausalLM cannot recompute its activations"),
    ],
)
def test_what_a_later_stage_needs_is_there_before_text_is_read(
    tmp_path, model, monkeypatch, options, kind, message
):
    real = prepare.read_skeleton

    def unusual(*args):
        skeleton = real(*args)
        skeleton.config.num_hidden_layers = 3
        skeleton.supports_gradient_checkpointing = False
        return skeleton

    monkeypatch.setattr(prepare, "read_skeleton", unusual)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(kind, match=message) as caught:
        adapt(model, tmp_path / "out", config=tiny_config(tmp_path, **options))
    assert not (tmp_path / "cache").exists()
    if "--set" in caught.value.hint:
        way = done_as(caught.value.hint, "adapt", model, tmp_path / "out", **options, steps=1)
        assert way.n_steps == 1


def test_all_sources_are_looked_at_before_the_first_is_packed(tmp_path, model):
    data = {str(tmp_path / "text.txt"): None, str(tmp_path / "missing.txt"): 0.1}
    with pytest.raises(DataError, match=r"missing\.txt does not exist"):
        adapt(model, tmp_path / "out", config=tiny_config(tmp_path, data=data))
    assert not (tmp_path / "cache").exists()


def test_a_full_disk_while_metrics_are_written(tmp_path, model, monkeypatch):
    def full(file, row):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(loop, "log_metrics", full)
    with pytest.raises(OutputError, match="cannot write .*out: No space left on device"):
        adapt(model, tmp_path / "out", config=tiny_config(tmp_path))


@pytest.mark.parametrize(
    ("part", "where"), [("check_model", "the set-up of the stage full"), ("loss", "step 1")]
)
def test_memory_that_runs_out_in_a_run(tmp_path, model, monkeypatch, part, where):
    def full(*_, **__):
        raise torch.OutOfMemoryError("x")

    out, options = tmp_path / "out", {"steps": 1, "micro_batch": 1 if part == "loss" else 4}
    with monkeypatch.context() as patch:
        patch.setattr(verb, "CAUSAL", replace(CAUSAL, **{part: full}))
        with pytest.raises(TrainingError, match=f"out of memory in {where} with") as caught:
            adapt(model, out, config=tiny_config(tmp_path, **options))
    done = done_as(caught.value.hint, "adapt", model, out, **options)
    length = json.loads((out / "saltlm/run.json").read_text())["options"]["sequence_length"]
    assert (done.n_steps, length) == (1, 4 if part == "loss" else 8)
    assert done.context == 64  # all that the model takes, as text is measured


def test_one_process_has_one_dtype(tmp_path, model):
    """accelerate keeps it; other tests of this process have begun with float32."""
    devices.start_accelerator(tiny_config(tmp_path), RunFolder(tmp_path / "out"))
    with pytest.raises(ConfigError, match=r"dtype=bfloat16 cannot be had here: .*\nhint: choose"):
        adapt(model, tmp_path / "out", config=tiny_config(tmp_path, dtype="bfloat16"))


def test_without_accelerate_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    for name in ("adapt", "engine", "devices", "prepare"):
        monkeypatch.delitem(sys.modules, f"saltlm.adaptation.{name}")
    with pytest.raises(MissingExtraError, match="training needs the 'adapt' extra"):
        cli.main(["adapt", "m", "--data", "x", "--out", "o"], standalone_mode=False)
