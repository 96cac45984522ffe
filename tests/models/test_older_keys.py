"""Settings under two names: older readers find them, and transformers 5 reads what it read."""

import json

import pytest
import transformers as hf
from transformers import AutoConfig

from saltlm.models.older_keys import missing_older_keys, with_older_keys

LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 |= {"original_max_position_embeddings": 1024}
LAYERS = {
    "full_attention": {"rope_type": "default", "rope_theta": 1e6},
    "sliding_attention": {"rope_type": "default", "rope_theta": 5e4},
}
CASES = {
    "a base": (
        hf.LlamaConfig(
            rope_parameters={"rope_theta": 5e5, "rope_type": "default"}, dtype="float32"
        ),
        {"rope_theta": 5e5, "dtype": "float32", "torch_dtype": "float32"},
    ),
    "a scaled base": (
        hf.LlamaConfig(rope_parameters={"rope_theta": 5e5, **LLAMA3}),
        {"rope_theta": 5e5, "rope_scaling": LLAMA3},
    ),
    "a part that turns": (
        hf.PhiConfig(rope_parameters={"rope_theta": 3e4, "partial_rotary_factor": 0.25}),
        {"rope_theta": 3e4, "partial_rotary_factor": 0.25},
    ),
    "GPT-NeoX": (
        hf.GPTNeoXConfig(rope_parameters={"rope_theta": 3e4, "partial_rotary_factor": 0.5}),
        {"rotary_emb_base": 3e4, "rotary_pct": 0.5},
    ),
    "a base by layer": (
        hf.Gemma3TextConfig(rope_parameters=LAYERS),
        {"rope_theta": 1e6, "rope_local_base_freq": 5e4},
    ),
    "a base by layer that no older key says": (hf.Olmo3Config(rope_parameters=LAYERS), {}),
    "no rotary positions": (hf.GPT2Config(), {}),
}


@pytest.mark.parametrize(("config", "older"), CASES.values(), ids=CASES)
def test_older_readers_find_their_keys_and_the_new_one_reads_the_same(config, older, tmp_path):
    written = json.loads(config.to_json_string(use_diff=False))
    both = with_older_keys(written)
    assert {key: both.get(key) for key in older} == older
    assert {key: both[key] for key in written} == written
    assert {key for key in both if key not in written} <= older.keys()
    loaded = []
    for values in (written, both):
        (tmp_path / "config.json").write_text(json.dumps(values))
        loaded.append(AutoConfig.from_pretrained(tmp_path).to_dict())
    old_names = ("rope_theta", "rope_scaling", "rope_local_base_freq", "partial_rotary_factor")
    plain = [{k: v for k, v in one.items() if k not in old_names} for one in loaded]
    assert plain[0] == plain[1]
    assert with_older_keys(both) == both
    assert missing_older_keys(both) == []


def test_the_text_model_inside_a_larger_one_has_them_too():
    values = {
        "model_type": "llava",
        "text_config": {"model_type": "llama", "rope_parameters": {"rope_theta": 7e4}},
    }
    assert with_older_keys(values)["text_config"]["rope_theta"] == 7e4
    assert missing_older_keys(values) == ["rope_theta"]


def test_a_base_that_readers_take_anyway_is_not_missed():
    values = {
        "model_type": "llama",
        "rope_parameters": {"rope_theta": 10_000.0},
        "dtype": "float16",
    }
    assert missing_older_keys(values) == []
