"""What a user types as SOURCE or PLM, without a network."""

import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError

from saltlm.errors import CheckpointError
from saltlm.models.hub import resolve_model, revision_of


def repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *files: str) -> list[Any]:
    """Puts a made-up repository on a made-up Hub; returns what is asked of it."""
    asked = []

    def model_info(self: Any, ref: str, **_: Any) -> SimpleNamespace:
        siblings = [SimpleNamespace(rfilename=name, size=10**9) for name in files]
        return SimpleNamespace(sha="abc123", siblings=siblings)

    def snapshot_download(ref: str, **options: Any) -> str:
        asked.append((ref, options))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return asked


def test_a_directory_is_taken_as_it_is(tmp_path, monkeypatch):
    assert resolve_model(str(tmp_path)) == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    assert resolve_model(f"~/{tmp_path.name}") == tmp_path


def test_only_what_is_needed_is_fetched_and_its_size_announced(tmp_path, monkeypatch, caplog):
    wanted = ["config.json", "chat_template.jinja", "tokenizer.model", "merges.txt"]
    wanted += ["README.md", "LICENSE", "modeling_mine.py", "additional_chat_templates/rag.jinja"]
    weights = ["model.safetensors.index.json", "model-00001-of-00001.safetensors"]
    others = ["pytorch_model.bin", "consolidated.safetensors", "original/params.json"]
    others += ["onnx/model.onnx", "tf_model.h5"]
    asked = repository(monkeypatch, tmp_path, *wanted, *weights, *others)
    caplog.set_level("INFO")
    assert resolve_model("owner/name") == tmp_path
    ((ref, options),) = asked
    assert ref == "owner/name"
    assert sorted(options["allow_patterns"]) == sorted(wanted + weights)
    assert "owner/name at abc123: 10 files, 10.00 GB" in caplog.text
    resolve_model("owner/name", with_weights=False)
    assert sorted(asked[1][1]["allow_patterns"]) == sorted([*wanted, weights[0]])


def test_pickles_are_fetched_only_without_safetensors(tmp_path, monkeypatch):
    files = ["config.json", "pytorch_model.bin", "training_args.bin"]
    asked = repository(monkeypatch, tmp_path, *files)
    resolve_model("owner/name")
    assert asked[0][1]["allow_patterns"] == ["config.json", "pytorch_model.bin"]


def test_offline_the_cached_copy_is_used(tmp_path, monkeypatch):
    asked = repository(monkeypatch, tmp_path)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", fail_with(ConnectionError("offline")))
    assert resolve_model("owner/name") == tmp_path
    assert asked == [("owner/name", {"local_files_only": True})]


def fail_with(error: Exception) -> Any:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


def test_offline_without_a_copy_says_which_files_and_how_to_get_them():
    with pytest.raises(CheckpointError) as caught:  # the real client
        resolve_model("owner/no-such-model")
    assert "cannot fetch config.json and the weights of owner/no-such-model" in caught.value.what
    assert "hf download owner/no-such-model --local-dir DIR" in caught.value.hint


def test_a_gated_model_says_what_to_do(tmp_path, monkeypatch):
    repository(monkeypatch, tmp_path)
    gated = GatedRepoError("403 Forbidden", response=SimpleNamespace(headers={}, request=None))
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", fail_with(gated))
    missing = fail_with(LocalEntryNotFoundError("not cached"))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", missing)
    with pytest.raises(CheckpointError, match="owner/name from the Hub.*403") as caught:
        resolve_model("owner/name")
    assert "https://huggingface.co/owner/name" in caught.value.hint
    assert "hf auth login" in caught.value.hint


@pytest.mark.parametrize("ref", ["./missing", "/missing", "~/missing", "a/b/c"])
def test_a_path_that_does_not_exist_is_not_looked_up(ref):
    with pytest.raises(CheckpointError, match=f"{ref} does not exist"):
        resolve_model(ref)


def test_a_file_is_not_a_model(tmp_path):
    file = tmp_path / "model.safetensors"
    file.touch()
    with pytest.raises(CheckpointError, match="is a file, not a model directory") as caught:
        resolve_model(str(file))
    assert str(tmp_path) in caught.value.hint


def test_what_is_no_id_either_is_refused():
    with pytest.raises(CheckpointError, match="'my model' is neither a directory nor a Hub id"):
        resolve_model("my model")


def test_the_commit_is_known_for_the_hub_cache_only(tmp_path):
    cached = tmp_path / "models--owner--name" / "snapshots" / "abc123"
    assert revision_of(cached) == "abc123"
    assert revision_of(tmp_path) is None


@pytest.mark.parametrize("is_beside", [False, True])
def test_a_folder_with_an_adapter_names_the_command_that_merges_it(tmp_path, is_beside):
    settings = '{"peft_type": "LORA", "base_model_name_or_path": "owner/base`a`"}'
    (tmp_path / "adapter_config.json").write_text(settings)
    if is_beside:
        (tmp_path / "config.json").write_text("{}")
        (tmp_path / "tokenizer_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"holds an adapter \(LORA\) of owner/base") as caught:
        resolve_model(str(tmp_path))
    assert (", beside a model" in caught.value.what) == is_beside
    tokenizer = tmp_path if is_beside else "owner/base`a`"
    python, _, code = shlex.split(caught.value.hint.partition("-merged: ")[2])
    assert python == "python"
    for part in (
        f"Model.from_pretrained('{tmp_path}').merge_and_unload()",
        f"save_pretrained('{tmp_path}-merged')",
        f"Tokenizer.from_pretrained('{tokenizer}')",
    ):
        assert part in code
    assert compile(code, "command", "exec")
