"""A sound directory passes, and each kind of damage is found by the check that is for it."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, normalizers

from saltlm.inspection.check import check
from tiny_pairs import make_model

PASSED = [
    "embedding rows finite and not zero",
    "transformers loads this tokenizer",
    "text comes back from the tokenizer",
    "every weight in its place",
    "loaded embedding equals the file",
    "loaded head equals the file",
    "tied as in the file",
    "padding_idx inside the table",
    "vocab_size is the number of rows",
    "every token has a row",
    "special token ids of config",
    "special token ids of generation_config",
    "special token ids agree",
    "forward pass",
    "tokenizer_class",
    "config.json for older readers",
    "generation_config is consistent",
    "padding_idx is the pad token",
    "chat template renders",
    "each chat marker is one token",
    "generates",
    "vocabulary in llama.cpp",
    "weights saved again are the same bytes",
    "weights saved again have their names and dtypes",
    "tied flag saved again",
    "tokenizer saved again is the same",
]


@pytest.fixture(autouse=True)
def _random_models_may_repeat_themselves(monkeypatch):
    monkeypatch.setattr("saltlm.inspection.downstream._LEAST_KINDS", 0)


@pytest.fixture(scope="module")
def sound(tokenizers_by_family, tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("sound"), tokenizers_by_family)


@pytest.fixture
def copy(sound, tmp_path):
    """A copy of the sound directory, to be damaged."""
    return shutil.copytree(sound, tmp_path / "copy")


def bad(directory):
    """What is not ok, but for what tests of inspection.downstream are for."""
    found = {f.check: f.detail for f in check(directory) if f.outcome != "ok"}
    return {name: detail for name, detail in found.items() if name != "vocabulary in llama.cpp"}


def edit(file, **changes):
    values = json.loads(file.read_text())
    file.write_text(json.dumps(values | changes))


def edit_tensors(directory, change):
    tensors = load_file(directory / "model.safetensors")
    change(tensors)
    save_file(tensors, directory / "model.safetensors", {"format": "pt"})


def test_a_sound_directory_passes_every_check(sound):
    findings = check(sound)
    assert [finding.check for finding in findings] == PASSED
    assert bad(sound) == {}


def test_an_untied_model_has_its_head_checked_too(tokenizers_by_family, tmp_path):
    directory = make_model(tmp_path, tokenizers_by_family, source="Phi")
    findings = check(directory)
    assert [f.check for f in findings] == [PASSED[0], PASSED[0].replace("embedding", "head")] + (
        PASSED[1:]
    )
    assert bad(directory) == {}
    edit_tensors(directory, lambda tensors: tensors["lm_head.weight"][5].zero_())
    assert bad(directory)["head rows finite and not zero"].endswith("the first is 5")


EMBEDDING = "model.embed_tokens.weight"


def zero_row(tensors):
    tensors[EMBEDDING][[7, 9]] = 0


def nan_in_table(tensors):
    tensors[EMBEDDING][7, 3] = torch.nan


def nan_in_body(tensors):
    tensors["model.norm.weight"][0] = torch.nan


def stray(tensors):
    tensors["model.extra.weight"] = torch.zeros(3)


def missing(tensors):
    del tensors["model.norm.weight"]


def other_shape(tensors):
    tensors["model.norm.weight"] = torch.ones(3)


@pytest.mark.parametrize(
    ("change", "check", "detail"),
    [
        (zero_row, "embedding rows finite and not zero", "2 zero rows, the first is 7"),
        (nan_in_table, "readable", "has NaN or inf in 1 of"),
        (nan_in_body, "forward pass", "logits"),
        (stray, "every weight in its place", "unexpected model.extra.weight"),
        (missing, "every weight in its place", "missing model.norm.weight"),
        (other_shape, "every weight in its place", "mismatched ('model.norm.weight'"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_damaged_weights(change, check, detail, copy):
    edit_tensors(copy, change)
    assert detail in bad(copy)[check]


@pytest.mark.parametrize(
    ("file", "changes", "check", "detail"),
    [
        (
            "config.json",
            {"vocab_size": 7},
            "readable",
            "16], but its config.json describes [7, 16]",
        ),
        ("config.json", {"tie_word_embeddings": False}, "readable", "has no head"),
        ("config.json", {"bos_token_id": 10**6}, "special token ids of config", "bos 1000000"),
        (
            "generation_config.json",
            {"eos_token_id": [1, 10**6, -1]},
            "special token ids of generation_config",
            "eos -1",
        ),
        (
            "generation_config.json",
            {"eos_token_id": 1},
            "special token ids agree",
            'in the tokenizer but 1 in generation_config.json: set "eos_token_id": ',
        ),
        (
            "config.json",
            {"bos_token_id": 2},
            "special token ids agree",
            'in the tokenizer but 2 in config.json: set "bos_token_id": ',
        ),
        ("config.json", {"model_type": "no-such"}, "readable", "config.json cannot be loaded"),
        ("config.json", {"pad_token_id": 10**6}, "readable", "Padding_idx"),
    ],
)
def test_damaged_settings(file, changes, check, detail, copy):
    edit(copy / file, **changes)
    assert detail in bad(copy)[check]


def test_a_flag_that_does_not_say_what_the_file_holds(copy):
    edit_tensors(copy, lambda tensors: tensors.update({"lm_head.weight": -tensors[EMBEDDING]}))
    said = "two tables in the file, but config.json says tie_word_embeddings true"
    assert bad(copy)["tied as in the file"] == said


def test_what_cannot_be_tried_here_is_no_fault(copy):
    edit(copy / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})
    assert "not tried: " in bad(copy)["loads in transformers"]
    assert check(copy).is_sound


def test_a_model_that_does_not_run_is_told_by_what_it_cannot_do(sound, monkeypatch):
    def fails(self, **_):
        raise KeyError(2)

    monkeypatch.setattr("transformers.LlamaForCausalLM.forward", fails)
    assert bad(sound) == {"forward pass": "KeyError: 2", "generates": "KeyError: 2"}


def test_more_tokens_than_rows(copy):
    tokenizer = Tokenizer.from_file(str(copy / "tokenizer.json"))
    tokenizer.add_tokens(["neu", "alt"])
    tokenizer.save(str(copy / "tokenizer.json"))
    size = tokenizer.get_vocab_size()
    assert bad(copy)["every token has a row"] == f"{size} tokens, {size - 2} rows"


def test_a_tokenizer_that_transformers_loads_otherwise(copy):
    edit(copy / "tokenizer_config.json", extra_special_tokens=["<extra>"])
    assert "transformers loads this tokenizer" in bad(copy)


def test_a_lossy_tokenizer_is_a_warning(copy):
    tokenizer = Tokenizer.from_file(str(copy / "tokenizer.json"))
    tokenizer.normalizer = normalizers.Replace("e", "")
    tokenizer.save(str(copy / "tokenizer.json"))
    assert {*bad(copy)} == {"text comes back from the tokenizer"}
    assert check(copy).is_sound


def test_what_white_space_is_lost_is_said(copy):
    tokenizer = Tokenizer.from_file(str(copy / "tokenizer.json"))
    tabs = normalizers.Replace("\t", " ")
    tokenizer.normalizer = normalizers.Sequence([tabs, tokenizer.normalizer])
    tokenizer.save(str(copy / "tokenizer.json"))
    said = r"tabs: 'name\tvalue\n\tinde' comes back as 'name value\n inde'"
    assert bad(copy)["text comes back from the tokenizer"] == said
    manifest = json.loads((copy / "saltlm/manifest.json").read_text())
    manifest["vocabulary"]["source_loses"] = ["tabs"]
    (copy / "saltlm/manifest.json").write_text(json.dumps(manifest))
    assert "text comes back from the tokenizer" not in bad(copy)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("tokenizer.json", "has no tokenizer.json"),
        ("config.json", "has no config.json"),
        ("model.safetensors", "holds neither model.safetensors nor"),
    ],
)
def test_missing_files(name, what, copy):
    (copy / name).unlink()
    assert what in bad(copy)["readable"]


def test_truncated_weights(copy):
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-9])
    assert "is corrupt or truncated" in bad(copy)["readable"]


def test_nothing_there(tmp_path):
    said = f"{tmp_path / 'no'} is not a directory; saltlm check DIR takes a model's"
    assert bad(tmp_path / "no") == {"readable": said}


def test_the_record_says_where_the_tables_of_an_unknown_layout_are(copy):
    edit_tensors(copy, lambda tensors: tensors.update(zzz=tensors.pop(EMBEDDING)))
    assert "has no embedding" in bad(copy)["readable"]
    record = json.loads((copy / "saltlm" / "manifest.json").read_text())
    record["options"]["tensors"]["source_embedding"] = "zzz"
    (copy / "saltlm" / "manifest.json").write_text(json.dumps(record))
    # Now the tables are read; transformers, which knows nothing of the name, is what fails.
    assert set(bad(copy)) == {
        "every weight in its place",
        "loaded embedding equals the file",
        "loaded head equals the file",
        "weights saved again have their names and dtypes",
    }
