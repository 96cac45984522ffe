#!/usr/bin/env bash
# transformers 5.23.0: a Phi-4-multimodal config whose end token has id 0 is read as one that names none.
#
# Behaviour: Phi4MultimodalConfig(eos_token_id=0) has the end tokens of the published model, [199999, 200020];
#   5 stays 5 and [0] stays [0]. A config.json that says 0 is read so too, and saved again it says 199999.
# Why it surprises: 0 is a usual id for the end token (in GPT-NeoX's and SmolLM's vocabularies it is), Phi, Phi-3
#   and Llama keep it, and nothing is said. A model with another vocabulary then does not
#   stop at its end token, and has one that lies behind its last row.
# Seen: 0 -> [199999, 200020]; 5 -> 5; [0] -> [0]; from config.json with 0: [199999, 200020]; with a
#   vocabulary of 1000 as well. PhiConfig, Phi3Config, LlamaConfig: 0 -> 0.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1 HF_HUB_OFFLINE=1
python3 -m pip install -qq --target "$work/packages" transformers==5.23.0
cd "$work"

python3 - 2>/dev/null <<'PYTHON'
import json
from pathlib import Path

import transformers

PUBLISHED = [199999, 200020]
config = transformers.Phi4MultimodalConfig
for given, expected in ((0, PUBLISHED), (5, 5), ([0], [0])):
    print(given, "->", config(eos_token_id=given).eos_token_id)
    assert config(eos_token_id=given).eos_token_id == expected

config(eos_token_id=5, pad_token_id=1, vocab_size=1000).save_pretrained("model")
file = Path("model/config.json")
file.write_text(json.dumps(json.loads(file.read_text()) | {"eos_token_id": 0}))
read = config.from_pretrained("model")
print("config.json with 0, vocabulary of", read.vocab_size, "->", read.eos_token_id)
assert (read.vocab_size, read.eos_token_id) == (1000, PUBLISHED)
read.save_pretrained("again")
assert json.loads(Path("again/config.json").read_text())["eos_token_id"] == PUBLISHED

for name in ("PhiConfig", "Phi3Config", "LlamaConfig"):
    other = getattr(transformers, name)(eos_token_id=0)
    print(name, "->", other.eos_token_id)
    assert other.eos_token_id == 0
PYTHON
