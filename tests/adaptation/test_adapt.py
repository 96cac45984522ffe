"""A whole run on a tiny model: what it leaves, and how it goes on."""

import io
import json
import logging
import re
import runpy
import shutil
import sys
from dataclasses import replace
from functools import partial

import pytest
import torch
from accelerate import tracking
from accelerate.state import AcceleratorState
from accelerate.utils import LoggerType
from click.testing import CliRunner
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3VLForConditionalGeneration

from adapt_models import N_ROWS, N_SHARED, N_TOKENS, read_model, save_model, save_text, tiny_config
from saltlm.adaptation import adapt as verb
from saltlm.adaptation import checkpoints, engine, loss, training
from saltlm.adaptation.adapt import adapt
from saltlm.adaptation.config import load_adapt_config
from saltlm.adaptation.metrics import flatten, read_metrics, summary
from saltlm.adaptation.objective import CAUSAL
from saltlm.adaptation.run_folder import RunFolder, choose_start, recorded_options
from saltlm.adaptation.samples import continuations
from saltlm.cli.main import cli
from saltlm.errors import CheckpointError, TrainingError
from saltlm.files.progress import progress
from saltlm.record.manifest import read_manifest
from tiny_models import molmo2, qwen3_vl

STAGES = ["embeddings:0.1", "full"]


pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def text(tmp_path):
    return save_text(tmp_path / "text.txt")


def load(directory):
    return AutoModelForCausalLM.from_pretrained(directory, dtype="auto")


def metrics(out):
    return read_metrics(out / "saltlm" / "metrics.jsonl")


def test_a_run_leaves_a_plain_model_directory_and_its_metrics(tmp_path, text):
    model, out = save_model(tmp_path / "model"), tmp_path / "out"
    heldout = {"target": text, "english": text}
    config = tiny_config(tmp_path, heldout=heldout, steps=10, stages=STAGES, eval_every=4)
    result = adapt(model, out, config=config)
    assert (result.directory, result.n_steps, result.n_tokens) == (out, 10, 10 * 64)

    before, after = load(model), load(out)
    assert after.lm_head.weight is after.model.embed_tokens.weight
    for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True):
        assert not torch.equal(old, new), name
    old_files, new_files = read_model(model), read_model(out)
    assert old_files.keys() == new_files.keys()
    changed = {name for name in old_files if old_files[name] != new_files[name]}
    assert changed == {"model.safetensors"}

    manifest = json.loads((out / "saltlm" / "manifest.json").read_text())
    assert manifest["source"] == {"name": "tiny"}
    (adaptation,) = manifest["adaptations"]
    assert adaptation["steps"] == 10
    assert adaptation["bits_per_byte"] == result.bits_per_byte
    assert [stage["kind"] for stage in adaptation["stages"]] == ["embeddings", "full"]
    assert (out / "saltlm" / "provenance.safetensors").exists()

    rows = metrics(out)
    assert [row["step"] for row in rows] == list(range(11))
    assert [row["tokens"] for row in rows] == [64 * step for step in range(11)]
    assert all(a["bytes"] < b["bytes"] for a, b in zip(rows, rows[1:], strict=False))
    assert all(a["seconds"] < b["seconds"] for a, b in zip(rows, rows[1:], strict=False))
    measured = {row["step"]: row["bits_per_byte"] for row in rows if "bits_per_byte" in row}
    assert list(measured) == [0, 4, 8, 10]
    assert measured[10]["target"] == measured[10]["english"] < measured[0]["target"]
    assert measured.keys() == {row["step"] for row in rows if "new_tokens" in row}
    seen = rows[10]["new_tokens"]["target"]
    assert 0 < seen["targets"] < 1
    assert seen["loss_new"] < rows[0]["new_tokens"]["target"]["loss_new"]
    assert rows[10]["loss"] < rows[1]["loss"]
    for row in rows[1:]:
        assert row["gradient_norm"] > 0
        assert row["tokens_per_second"] > 0
        body = 0 if row["stage"] == "embeddings" else 0.3 * row["learning_rates"]["new"]
        assert row["learning_rates"]["body"] == pytest.approx(body)


def test_bytes_are_those_of_the_text(tmp_path, text):
    adapt(save_model(tmp_path / "model"), tmp_path / "out", config=tiny_config(tmp_path, steps=40))
    last = metrics(tmp_path / "out")[-1]
    lines = text.read_text("utf-8").splitlines()
    n_bytes = sum(len(line.strip().encode()) for line in lines)
    n_tokens = sum(1 + len(ids) for ids in _tokenize(tmp_path / "model", lines))
    assert last["bytes"] / last["tokens"] == pytest.approx(n_bytes / n_tokens, rel=0.01)


def _tokenize(model, lines):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model)(lines, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("is_tied", [True, False])
def test_the_stage_embeddings_leaves_all_but_new_rows_bit_for_bit(tmp_path, text, is_tied):
    model = save_model(tmp_path / "model", is_tied=is_tied)
    config = tiny_config(tmp_path, stages=["embeddings"], weight_decay=0.5, save_every=9)
    adapt(model, tmp_path / "out", config=config)
    before, after = load(model), load(tmp_path / "out")
    for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True):
        if "embed" in name or "head" in name:
            assert torch.equal(old[:N_SHARED], new[:N_SHARED])
            assert torch.equal(old[N_TOKENS:], new[N_TOKENS:])
            assert (old[N_SHARED:N_TOKENS] != new[N_SHARED:N_TOKENS]).any()
        else:
            assert torch.equal(old, new)


def test_a_model_that_reads_images_is_opened_by_its_own_class(tmp_path, text):
    """Qwen3-VL, which no auto class of causal models has; its image layers are no ends."""
    model, out = save_model(tmp_path / "model"), tmp_path / "out"
    qwen3_vl(N_ROWS, bos_token_id=0, eos_token_id=0).save_pretrained(model)
    adapt(model, out, config=tiny_config(tmp_path, stages=["top-bottom"], ends=1, steps=2))
    before, after = map(Qwen3VLForConditionalGeneration.from_pretrained, (model, out))
    changed = {
        name.rpartition("layers.")[0]
        for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True)
        if not torch.equal(old, new)
    }
    assert "model.language_model." in changed
    assert not [name for name in changed if "visual" in name]


@pytest.mark.parametrize("teacher", [None, "ngrams"])
def test_a_model_that_must_be_told_what_is_text(teacher, tmp_path, text):
    """Molmo 2, which is not trained otherwise, and whose head has fewer rows than its embedding."""
    model, out = save_model(tmp_path / "model", has_record=False), tmp_path / "out"
    molmo2(N_TOKENS + 40, bos_token_id=0, eos_token_id=0).save_pretrained(model)
    config = tiny_config(tmp_path, heldout={"target": text}, teacher=teacher)
    end = adapt(model, out, config=config)
    assert end.bits_per_byte["target"] < end.before["target"]


def test_adapters_and_ends_leave_a_plain_model(tmp_path, text):
    model = save_model(tmp_path / "model", num_hidden_layers=3)
    stages = ["lora:0.3", "top-bottom:0.3", "lora"]
    adapt(
        model, tmp_path / "out", config=tiny_config(tmp_path, stages=stages, ends=1, save_every=3)
    )
    before, after = load(model), load(tmp_path / "out")
    assert before.state_dict().keys() == after.state_dict().keys()
    assert after.lm_head.weight is after.model.embed_tokens.weight
    middle = "model.layers.1.mlp.up_proj.weight"
    assert not torch.equal(before.get_parameter(middle), after.get_parameter(middle))
    norm = "model.layers.1.input_layernorm.weight"
    assert torch.equal(before.get_parameter(norm), after.get_parameter(norm))


@pytest.mark.parametrize("is_said", [True, False])
def test_the_stored_dtype_is_kept_but_training_is_not_in_it(tmp_path, text, is_said):
    model = save_model(tmp_path / "model", dtype=torch.bfloat16)
    if not is_said:
        config = json.loads((model / "config.json").read_text())
        del config["dtype"]
        (model / "config.json").write_text(json.dumps(config))
    adapt(model, tmp_path / "out", config=tiny_config(tmp_path, steps=1))
    assert load(tmp_path / "out").dtype == torch.bfloat16
    (kept,) = checkpoints.find(tmp_path / "out" / "saltlm" / "checkpoints")
    weights = checkpoints._read(kept / "weights.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


@pytest.mark.parametrize("kind", ["embeddings", "lora", "top-bottom"])
def test_a_run_goes_on_inside_every_kind_of_stage(tmp_path, text, monkeypatch, kind):
    model = save_model(tmp_path / "model", attention_dropout=0.3)  # so random numbers matter
    config = tiny_config(tmp_path, stages=[kind])
    adapt(model, tmp_path / "whole", config=config)
    with monkeypatch.context() as patch:
        patch.setattr(training, "learning_rate_factor", lambda step, *_: 1.0 if step < 3 else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            adapt(model, tmp_path / "broken", config=config)
    adapt(model, tmp_path / "broken", config=config)
    assert read_model(tmp_path / "broken") == read_model(tmp_path / "whole")


@pytest.fixture
def new_accelerator_state():
    """accelerate keeps the dtype of a process."""
    AcceleratorState._reset_state()
    yield
    AcceleratorState._reset_state()


@pytest.mark.usefixtures("new_accelerator_state")
def test_bfloat16_is_that_of_activations_only(tmp_path, text, monkeypatch, caplog):
    seen, real = set(), loss._ChunkedCrossEntropy.apply

    def apply(hidden, weight, *others):
        seen.add((hidden.dtype, weight.dtype))
        return real(hidden, weight, *others)

    model = save_model(tmp_path / "model", attention_dropout=0.3)
    config = tiny_config(tmp_path, dtype="bfloat16", heldout={"german": text}, steps=2)
    with monkeypatch.context() as patch:
        patch.setattr(loss._ChunkedCrossEntropy, "apply", apply)
        adapt(model, tmp_path / "out", config=config)
    assert seen == {(torch.bfloat16, torch.float32)}
    assert "cannot keep attention inside a document" not in caplog.text
    (kept,) = checkpoints.find(tmp_path / "out" / "saltlm" / "checkpoints")
    for file in ("weights", "optimizer"):
        tensors = checkpoints._read(kept / f"{file}.safetensors").values()
        assert {tensor.dtype for tensor in tensors} == {torch.float32}
    AcceleratorState._reset_state()
    adapt(
        model, tmp_path / "exact", config=tiny_config(tmp_path, heldout={"german": text}, steps=2)
    )
    rows, exact = metrics(tmp_path / "out"), metrics(tmp_path / "exact")
    assert rows[1]["loss"] != exact[1]["loss"]
    assert rows[1]["loss"] == pytest.approx(exact[1]["loss"], rel=1e-2)
    assert rows[2]["bits_per_byte"]["german"] == pytest.approx(
        exact[2]["bits_per_byte"]["german"], rel=1e-2
    )


@pytest.mark.parametrize("options", [{"micro_batch": 3}, {"checkpointing": True}])
def test_what_fits_into_memory_changes_nothing(tmp_path, text, options):
    model = save_model(tmp_path / "model")
    losses = []
    for name, more in {"a": {}, "b": options}.items():
        adapt(model, tmp_path / name, config=tiny_config(tmp_path, steps=3, **more))
        losses.append([row["loss"] for row in metrics(tmp_path / name)[1:]])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_model_that_ignores_documents_is_told_of(tmp_path, text, monkeypatch, caplog):
    given = []

    def causal_loss(model, ids, positions, **named):
        given.append(positions)
        return CAUSAL.loss(model, ids, positions, **named)

    for can_mask in (True, False):
        with monkeypatch.context() as patch:
            separates = CAUSAL.separates if can_mask else lambda *_: False
            objective = replace(CAUSAL, loss=causal_loss, separates=separates)
            patch.setattr(verb, "CAUSAL", objective)
            config = tiny_config(tmp_path, steps=1, micro_batch=8)
            adapt(
                save_model(tmp_path / f"model-{can_mask}"), tmp_path / f"{can_mask}", config=config
            )
        warning = "LlamaForCausalLM cannot keep attention inside a document (flash attention can,"
        assert (warning in caplog.text) != can_mask
    with_positions, without = given
    assert (with_positions[:, 1:] == 0).any()  # a document begins inside of a sequence
    assert without is None


def test_a_finished_run_is_left_alone_or_made_longer(tmp_path, text):
    model, out = save_model(tmp_path / "model", has_record=False), tmp_path / "out"
    adapt(model, out, config=tiny_config(tmp_path, steps=2))
    first = read_model(out)
    rows = metrics(out)
    assert adapt(model, out, config=tiny_config(tmp_path, steps=2)).n_steps == 2
    assert (read_model(out), metrics(out)) == (first, rows)
    adapt(model, out, config=tiny_config(tmp_path, steps=7))
    assert read_model(out) != first
    assert [row["step"] for row in metrics(out)] == list(range(8))
    names = [path.name for path in checkpoints.find(out / "saltlm" / "checkpoints")]
    assert names == ["step-00000006", "step-00000007"]


def test_a_heldout_text_may_come_later_but_not_change(tmp_path):
    folder = RunFolder(tmp_path)
    folder.path.mkdir()
    for texts in ({"target": "a"}, {"target": "a", "english": "b"}):
        run = {"options": {}, "inputs": {"heldout": texts}}
        assert choose_start(folder, run, "auto") is None
    run = {"options": {}, "inputs": {"heldout": {"target": "c"}}}
    with pytest.raises(TrainingError, match=r"inputs\.heldout\.target was a, is c"):
        choose_start(folder, run, "auto")


def test_other_settings_are_refused_unless_a_checkpoint_is_named(tmp_path, text):
    model, out = save_model(tmp_path / "model"), tmp_path / "out"
    adapt(model, out, config=tiny_config(tmp_path))
    other = tiny_config(tmp_path, seed=1, lr={"new": 0.5, "body": 3e-4})
    message = "run with other settings: lr.body was 0.003, is 0.0003, lr.new was 0.01, is 0.5"
    with pytest.raises(TrainingError, match=message):
        adapt(model, out, config=other)
    first, last = checkpoints.find(out / "saltlm" / "checkpoints")
    assert adapt(model, out, config=other, resume=str(first)).n_steps == 4
    assert {row["learning_rates"]["body"] for row in metrics(out)[1:3]} == {3e-3}
    assert {row["learning_rates"]["body"] for row in metrics(out)[3:]} == {3e-4, 1.5e-4}
    with pytest.raises(
        TrainingError, match=r"there is no checkpoint \S+nowhere\nhint: --resume auto"
    ):
        adapt(model, out, config=other, resume=str(tmp_path / "nowhere"))
    assert adapt(model, out, config=tiny_config(tmp_path, steps=1), resume="never").n_steps == 1
    assert [path.name for path in checkpoints.find(last.parent)] == ["step-00000001"]


def test_a_config_that_builds_no_model_is_named(tmp_path, text):
    model = save_model(tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    config["rope_parameters"] = {"rope_type": "default", "rope_theta": {"x": 1}}
    (model / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"config\.json is damaged: \w+Error: .*"):
        adapt(model, tmp_path / "out", config=tiny_config(tmp_path))


@pytest.mark.parametrize("change", ["settings", "tokenizer settings", "record"])
def test_a_model_that_was_changed_is_another_input(change, tmp_path, text):
    """Weights are not all that decides the result."""
    model, out = save_model(tmp_path / "model"), tmp_path / "out"
    adapt(model, out, config=tiny_config(tmp_path, steps=1))
    if change == "record":
        (model / "saltlm" / "provenance.safetensors").unlink()
    else:
        name = "config.json" if change == "settings" else "tokenizer_config.json"
        settings = json.loads((model / name).read_text())
        (model / name).write_text(json.dumps(settings | {"rms_norm_eps": 0.5}))
    key = "new rows" if change == "record" else "model"
    with pytest.raises(TrainingError, match=rf"inputs\.{key} was [0-9a-f]{{64}}, is \w+"):
        adapt(model, out, config=tiny_config(tmp_path, steps=1))


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_bar_shows_speed_loss_and_the_time_that_is_left(tmp_path, text, monkeypatch):
    terminal = Terminal()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        patch.setenv("TQDM_DISABLE", "")
        patch.setenv("COLUMNS", "80")
        patch.setattr(engine, "progress", partial(progress, mininterval=0))  # each step is drawn
        config = tiny_config(tmp_path, heldout={"german": text}, eval_every=3)
        adapt(save_model(tmp_path / "model"), tmp_path / "out", config=config)
    bars = [line for line in terminal.getvalue().split("\r") if "full:" in line]
    before, *_, last = metrics(tmp_path / "out")
    bits = [row["bits_per_byte"]["german"] for row in (before, last)]
    shown = f"loss {last['loss']:.3f}, german {bits[1]:.3f}, {last['tokens_per_second']:,.0f} tok"
    assert re.match(r"full: 4/4, \d\d:\d\d left, " + re.escape(f"{shown}ens/s"), bars[-1])
    assert any(f", german {bits[0]:.3f}, " in line for line in bars)  # until the next measurement
    assert max(map(len, bars)) <= 80


def test_of_many_held_out_texts_those_that_fit_are_shown():
    many = {f"kind{n}": 1.0 for n in range(9)}
    row = {"loss": 4.0, "bits_per_byte": many, "tokens_per_second": 12_000.4}
    whole = "loss 4.000, kind0 1.000, kind1 1.000, 12,000 tokens/s"
    assert summary(row, len(whole)) == whole
    assert summary(row, 3) == "loss 4.000, 12,000 tokens/s"
    assert "kind8 1.000" in summary(row)


def test_every_line_of_the_metrics_reaches_a_tracker(tmp_path, text, monkeypatch):
    package = tmp_path / "packages" / "trackio"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(TRACKIO)
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setattr(tracking, "_available_trackers", [LoggerType.TRACKIO])  # seen at import
    config = tiny_config(tmp_path, heldout={"german": text}, trackers=["trackio"])
    adapt(save_model(tmp_path / "model"), tmp_path / "out", config=config)
    trackio = sys.modules.pop("trackio")
    rows = metrics(tmp_path / "out")
    assert trackio.logged == [(row["step"], flatten(row)) for row in rows]
    assert rows[-1]["learning_rates"]["new"] == trackio.logged[-1][1]["learning_rates/new"]
    assert trackio.logged[-1][1]["bits_per_byte/german"] > 0
    assert trackio.config["lr/new"] == 1e-2
    assert trackio.finished == [True]


TRACKIO = """
logged, finished = [], []

class Config(dict):
    def update(self, values, allow_val_change):
        super().update(values)

config = Config()

class Run:
    def log(self, values, step=None):
        logged.append((step, values))

    def finish(self):
        finished.append(True)

def init(project):
    assert project == "saltlm"
    return Run()
"""


def test_the_module_is_the_command(monkeypatch, capsys):
    """As in ``accelerate launch -m saltlm adapt``."""
    monkeypatch.setattr(sys, "argv", ["saltlm", "adapt", "--launch-config", "ddp"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("saltlm", run_name="__main__")
    assert not ended.value.code
    assert "distributed_type: MULTI_GPU" in capsys.readouterr().out


def test_the_command(tmp_path, text, caplog):
    caplog.set_level(logging.INFO, logger="saltlm")
    shutil.copy(text, tmp_path / "more.txt")
    model = save_model(tmp_path / "model", has_record=False)
    arguments = [
        *(str(model), "--data", str(text), "--data", f"{tmp_path / 'more.txt'}=0.25"),
        *("--out", str(tmp_path / "out"), "--heldout", str(text), "--tokens", "0.2k"),
        *("--set", "sequence_length=8", "--set", "batch_tokens=64", "--set", f"cache={tmp_path}"),
    ]
    outcome = CliRunner().invoke(cli, ["adapt", *arguments], catch_exceptions=False)
    assert outcome.exit_code == 0
    title = r"/out: 256 tokens in \d+ s; bits per byte of held-out text, at most 10 documents"
    assert re.search(title, " ".join(outcome.stdout.split()))
    assert re.search(r"\ntarget +\d\.\d{3} +\d\.\d{3}", outcome.stdout)
    assert f"evaluate {tmp_path / 'model'} {tmp_path / 'out'} --heldout {text}" in caplog.text
    samples = read_manifest(tmp_path / "out")["adaptations"][-1]["samples"]
    for directory, when in ((model, "before"), (tmp_path / "out", "after")):
        tokenizer = AutoTokenizer.from_pretrained(directory)
        written = continuations(load(directory), tokenizer, text.read_text("utf-8").split("\n")[:2])
        assert {one["beginning"]: one[when] for one in samples} == written
    assert "what it writes after beginnings of the held-out text" in outcome.stdout
    folder = tmp_path / "out/saltlm/checkpoints"
    assert (
        f"checkpoints take 0.0 GB; only a longer run needs them. To remove them: rm -r {folder}"
        in caplog.text
    )
    assert "4 steps of 64 tokens, full to step 4: about " in caplog.text
    assert "25.0 % from" in caplog.text
    assert "held-out text is measured 2 times, at most 10 documents of each: ab" in caplog.text
    assert re.search(r"step 4 of 4, 0:00:00 left: loss \d.*, target \d.* tokens/s", caplog.text)
    assert "measured while out was trained" in (tmp_path / "out/saltlm/report.html").read_text()


def test_a_short_run_chooses_its_options_says_so_and_gets_longer(
    tmp_path, text, caplog, monkeypatch
):
    """What is not given fits the run's length; a longer run keeps what it began with."""
    monkeypatch.setattr(engine, "_SILENCE", 0)
    model, out = save_model(tmp_path / "model", max_position_embeddings=32), tmp_path / "out"
    options = {"data": str(text), "cache": tmp_path / "cache", "dtype": "float32"}
    english = {"english": str(save_text(tmp_path / "english.txt")), "english_share": 0.25}
    with caplog.at_level(logging.INFO):
        adapt(model, out, tokens=500, **english, **options)
    assert "chosen for a short run (500 tokens): 256 tokens a step, 32 in a sequence" in caplog.text
    assert "25.0 % from" in caplog.text
    assert "more than the run" not in caplog.text
    assert "step 1 of 2, 0:00:0" in caplog.text  # a line a minute, where there is no terminal
    record = json.loads((out / "saltlm" / "run.json").read_text())["options"]
    assert (record["batch_tokens"], record["sequence_length"], record["decay"]) == (256, 32, 1.0)
    assert [stage["kind"] for stage in record["stages"]] == ["full"]
    english["heldout"] = {"target": text}
    longer = adapt(model, out, tokens=700, **english, **options)
    assert (longer.n_steps, longer.n_tokens, longer.documents) == (3, 768, 10)
    assert recorded_options(RunFolder(out))["eval_documents"] == 10
    assert adapt(model, out, tokens=700, eval_documents=3, **english, **options).documents == 3


def test_a_step_that_is_more_than_the_run_is_told(tmp_path, text, caplog):
    config = tiny_config(tmp_path, steps=None, tokens=50)
    adapt(save_model(tmp_path / "model"), tmp_path / "out", config=config)
    assert "a step of 64 tokens is more than the run of 50: it is one step" in caplog.text
    (way,) = re.findall(r"try --set (batch_tokens=\d+)", caplog.text)
    assert load_adapt_config(config, [way]).batch_sequences == 32
