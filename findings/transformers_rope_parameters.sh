#!/usr/bin/env bash
# transformers 5.23.0 and 4.57.6: the base of rotary positions falls back to 10000 on the way back.
#
# Behaviour: transformers 5 writes the base, and how positions are stretched, into `rope_parameters` of
#   config.json only. 4.57.6 reads `rope_theta` and `rope_scaling`; it keeps the new key as an attribute
#   that no model uses, and gives rope_theta its default, without a warning.
# Why it surprises: the file says which version wrote it, all weights load, shapes fit, and the model speaks;
#   only its attention is turned by other angles, which the text shows late or never. Whatever
#   converts a model through 4.57's configuration carries the wrong base along.
# Seen: Llama with base 500000, Qwen2 with 1000000, Llama with llama3 stretching: 4.57.6 has rope_theta 10000
#   and rope_scaling None in all three, and `rope_parameters` intact beside them.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONNOUSERSITE=1 HF_HUB_OFFLINE=1 HF_HOME="$work/home"
python3 -m pip install -qq --target "$work/new" transformers==5.23.0
python3 -m pip install -qq --target "$work/old" transformers==4.57.6
cd "$work"

PYTHONPATH="$work/new" python3 - <<'PYTHON'
from transformers import LlamaConfig, Qwen2Config

stretched = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
}
LlamaConfig(rope_parameters={"rope_type": "default", "rope_theta": 500000.0}).save_pretrained("llama")
Qwen2Config(rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}).save_pretrained("qwen2")
LlamaConfig(rope_parameters=stretched, max_position_embeddings=131072).save_pretrained("stretched")
PYTHON

PYTHONPATH="$work/old" python3 - <<'PYTHON'
import json
import warnings

from transformers import AutoConfig

warnings.simplefilter("error")
for name, base in (("llama", 500000.0), ("qwen2", 1000000.0), ("stretched", 500000.0)):
    with open(f"{name}/config.json") as file:
        written = json.load(file)
    assert written["transformers_version"] == "5.23.0"
    assert written["rope_parameters"]["rope_theta"] == base and "rope_theta" not in written
    config = AutoConfig.from_pretrained(name)
    print(f"{name}: written {base:.0f}, read {config.rope_theta:.0f}, scaling {config.rope_scaling}")
    assert config.rope_theta == 10000.0 and config.rope_scaling is None
    assert config.rope_parameters["rope_theta"] == base
PYTHON
