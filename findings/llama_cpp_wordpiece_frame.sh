#!/bin/sh
# llama.cpp (xllamacpp 2026.10.11549): with a WordPiece vocabulary ("bert") every text gets two tokens
# put around it, though the file says add_bos_token = false and add_eos_token = false; and the last of
# them is whatever stands at id 102, BERT's own [SEP], where the file names no separator.
#
# Seen: of a model of 200 tokens, 'alpha' (id 150) becomes [1, 150, 102]: bos, the word, token 102,
# which here is an ordinary word. Asked without special tokens it is [150].
# Nobody would guess it: the keys are there to say this, and they are obeyed for BPE vocabularies. A
# language model then reads every prompt as if it ended with a word that nobody wrote.
# Fails (exit 1) when this is no longer what happens.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q xllamacpp==2026.10.11549 gguf==0.19.0 numpy==2.4.6
cd "$place"
cat > try.py <<'PYTHON'
import json
import urllib.request

import gguf
import numpy as np
import xllamacpp

WORDS = ["[UNK]", "[BOS]", "[EOS]", *(f"\u2581w{i}" for i in range(3, 150)), "\u2581alpha"]
WORDS += [f"\u2581w{i}" for i in range(151, 200)]


def write(file):
    """A Llama of one layer, whose tokens are whole words of WordPiece."""
    writer = gguf.GGUFWriter(file, "llama")
    for name, value in (
        ("block_count", 1),
        ("context_length", 64),
        ("embedding_length", 32),
        ("feed_forward_length", 32),
        ("head_count", 1),
    ):
        getattr(writer, f"add_{name}")(value)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(WORDS)
    writer.add_token_types([2, 3, 3] + [1] * (len(WORDS) - 3))
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    square = np.full((32, 32), 0.01, np.float32)
    names = [f"blk.0.{n}" for n in ("attn_q", "attn_k", "attn_v", "attn_output")]
    names += [f"blk.0.ffn_{n}" for n in ("gate", "up", "down")]
    for name in names:
        writer.add_tensor(f"{name}.weight", square)
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(32, np.float32))
    writer.add_tensor("token_embd.weight", np.full((len(WORDS), 32), 0.01, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def ids(file, add_special):
    parameters = xllamacpp.CommonParams()
    parameters.model.path = file
    parameters.n_ctx, parameters.warmup = 64, False
    server = xllamacpp.Server(parameters)
    request = urllib.request.Request(
        f"{server.listening_address}/tokenize",
        json.dumps({"content": "alpha", "add_special": add_special}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["tokens"]


write("model.gguf")
seen = ids("model.gguf", True), ids("model.gguf", False)
print("with special tokens:", seen[0], "without:", seen[1])
expected = [1, 150, 102], [150]
assert seen == expected, f"changed: {seen} in place of {expected}"
PYTHON
timeout 120 "$place/venv/bin/python" try.py 2> log || { tail -5 log; exit 1; }
