#!/usr/bin/env bash
# transformers 5.23.0 and 4.57.6: who decides on bos and eos around a text, tokenizer.json or its settings.
#
# Behaviour: a directory of class LlamaTokenizer or GemmaTokenizer holds tokenizer.json, whose template puts
#   <s> before a text, and tokenizer_config.json with `add_bos_token` and `add_eos_token`. 4.57.6 makes the
#   template anew from the two settings. 5.23.0 leaves the template as it is, ignores both settings, and
#   shows add_bos_token and add_eos_token as False afterwards, although <s> is added.
# Why it surprises: the settings are how Llama-like models are told to end a document with eos in
#   continued pre-training, or to start without bos; the attributes say the opposite of what the ids are.
#   The same directory trains one model on ends of documents under 4.57.6, and on none under 5.23.0.
# Seen, for "ab" with (bos, eos) = (True, True), (True, False), (False, False): 4.57.6 gives bos and eos, bos,
#   neither; 5.23.0 gives bos in all three cases.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONNOUSERSITE=1 HF_HUB_OFFLINE=1 HF_HOME="$work/home"
python3 -m pip install -qq --target "$work/new" transformers==5.23.0
python3 -m pip install -qq --target "$work/old" transformers==4.57.6
cd "$work"

cat > frames.py <<'PYTHON'
import json
import sys
from pathlib import Path

import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoTokenizer

vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, "▁": 3, "a": 4, "b": 5, "▁a": 6}
tokenizer = Tokenizer(models.BPE(vocabulary, [("▁", "a")], unk_token="<unk>"))
tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
tokenizer.decoder = decoders.Metaspace()
tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
tokenizer.post_processor = processors.TemplateProcessing(
    single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
)
folder = Path("model")
folder.mkdir(exist_ok=True)
tokenizer.save("model/tokenizer.json")
roles = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}

for name in ("LlamaTokenizer", "GemmaTokenizer"):
    seen = {}
    for wanted in ((True, True), (True, False), (False, False)):
        settings = {"tokenizer_class": name, "add_bos_token": wanted[0], "add_eos_token": wanted[1], **roles}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
        loaded = AutoTokenizer.from_pretrained("model")
        ids = loaded("ab").input_ids
        seen[wanted] = (ids[0] == 1, ids[-1] == 2)
        said = (loaded.add_bos_token, loaded.add_eos_token)
        print(f"transformers {transformers.__version__}, {name}: asked {wanted}, added {seen[wanted]}, says {said}")
        if sys.argv[1] == "old":
            assert seen[wanted] == wanted == said
        else:
            assert seen[wanted] == (True, False) and said == (False, False)
PYTHON
PYTHONPATH="$work/old" python3 frames.py old
PYTHONPATH="$work/new" python3 frames.py new
