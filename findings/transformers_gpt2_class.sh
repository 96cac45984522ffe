#!/usr/bin/env bash
# transformers 5.23.0: a tokenizer's class name overrules what its tokenizer.json says of cutting.
#
# Behaviour: tokenizer.json holds a byte-level BPE whose pre-tokenizer splits digits one by one. Declared as
#   GPT2Tokenizer, or not declared beside a config.json of model type gpt2, the pre-tokenizer is replaced
#   by GPT-2's own and numbers are merged; declared as PreTrainedTokenizerFast the file is obeyed. Of the
#   same file the post-processor is kept in all cases, so that the beginning-of-text token still appears.
# Why it surprises: tokenizer.json is a whole tokenizer, and the tokenizers library runs it as such. Published
#   models declare this class over other splits. Nothing is said on loading, every text still comes back
#   when decoded, and the ids are of the right vocabulary: only not those that the model was trained on.
# Seen, "in 2024": GPT2Tokenizer and model type gpt2 <s> in G2024 (G is the mark of a space);
#   PreTrainedTokenizerFast and the file itself <s> in G 2 0 2 4.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1 HF_HUB_OFFLINE=1 HF_HOME="$work/home"
python3 -m pip install -qq --target "$work/packages" transformers==5.23.0 tokenizers==0.23.3
cd "$work"

python3 - <<'PYTHON'
import json
import os

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoTokenizer

SPACE = "\u0120"
merges = [("i", "n"), ("2", "0"), ("2", "4"), ("20", "24"), (SPACE, "2024")]
tokens = ["<s>", *sorted(pre_tokenizers.ByteLevel.alphabet()), *map("".join, merges)]
file = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, merges))
file.add_special_tokens(["<s>"])
file.pre_tokenizer = pre_tokenizers.Sequence(
    [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
)
file.decoder = decoders.ByteLevel()
file.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A $B", [("<s>", 0)])
cut, merged = ["<s>", "in", SPACE, "2", "0", "2", "4"], ["<s>", "in", f"{SPACE}2024"]
assert file.encode("in 2024").tokens == cut

cases = (  # declared class, model type of config.json, tokens
    ("GPT2Tokenizer", "llama", merged),
    ("GPT2Tokenizer", "gpt2", merged),
    (None, "gpt2", merged),
    ("PreTrainedTokenizerFast", "gpt2", cut),
    (None, "llama", cut),
)
for declared, model_type, expected in cases:
    directory = f"{declared}-{model_type}"
    os.mkdir(directory)
    file.save(f"{directory}/tokenizer.json")
    settings = {"bos_token": "<s>", **({"tokenizer_class": declared} if declared else {})}
    for name, content in (("tokenizer_config", settings), ("config", {"model_type": model_type})):
        with open(f"{directory}/{name}.json", "w") as out:
            json.dump(content, out)
    loaded = AutoTokenizer.from_pretrained(directory)
    ids = loaded("in 2024")["input_ids"]
    seen = loaded.convert_ids_to_tokens(ids)
    print(f"class {declared}, model type {model_type}: {ascii(seen)}")
    assert seen == expected
    assert loaded.decode(ids, skip_special_tokens=True) == "in 2024"
PYTHON
