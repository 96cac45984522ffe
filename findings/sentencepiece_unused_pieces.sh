#!/usr/bin/env bash
# transformers 5.23.0 and llama.cpp (xllamacpp 2026.10.11549): both use the pieces that a SentencePiece
# model marks as unused.
#
# Behaviour: each piece has a type; sentencepiece_model.proto says of UNUSED that the piece is not used.
#   SentencePiece obeys: a Unigram model goes around such a piece, a BPE model takes it apart again.
#   transformers takes strings and scores, and asks for the type only to find control and user-defined
#   pieces (SentencePieceExtractor in convert_slow_tokenizer.py). GGUF has the same types with the same
#   numbers, and llama.cpp reads them, but keeps unused pieces among those that a text can become.
# Why it surprises: UNUSED takes a piece out of a vocabulary without moving the ids behind it, and both
#   readers obey the types "control" and "user-defined". A word that was retired, maybe with its row, is back, and
#   nothing says so: one vocabulary gives other ids in SentencePiece than in the program that runs the model.
# Seen, "snowbird" with the pieces snow, bird and snowbird: all three read snowbird. With snowbird as UNUSED,
#   SentencePiece reads snow bird, the other two still snowbird; for Unigram and for BPE.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1 HF_HUB_OFFLINE=1
python3 -m pip install -qq --target "$work/packages" sentencepiece==0.2.3 protobuf==7.36.2 \
    transformers==5.23.0 xllamacpp==2026.10.11549 gguf==0.19.0 numpy==2.4.6
cd "$work"

cat > try.py <<'PYTHON'
import json
import pathlib
import urllib.request

import gguf
import numpy as np
import xllamacpp
from sentencepiece import SentencePieceProcessor, sentencepiece_model_pb2
from transformers import AutoTokenizer

NORMAL, UNKNOWN, CONTROL, UNUSED = 1, 2, 3, 5
UNIGRAM, BPE = 1, 2
WIDTH = 32
WORD = "\u2581snowbird"
LETTERS = "\u2581snowbird"
# The pieces of the BPE model in the order in which they merge.
STEPS = ["no", "\u2581s", "ow", "\u2581sno", "\u2581snow", "bi", "rd", "bird", WORD]


def pieces_of(algorithm, kind):
    """Return strings, scores and types of a model in which the piece of the whole word is of a kind."""
    pieces = [("<unk>", 0, UNKNOWN), ("<s>", 0, CONTROL), ("</s>", 0, CONTROL)]
    if algorithm == UNIGRAM:
        pieces += [("\u2581snow", -3, NORMAL), ("bird", -3, NORMAL), (WORD, -4, kind)]
    else:
        pieces += [(step, -1 - rank, kind if step == WORD else NORMAL) for rank, step in enumerate(STEPS)]
    return pieces + [(letter, -20 - rank, NORMAL) for rank, letter in enumerate(LETTERS)]


def by_sentencepiece(algorithm, pieces):
    model = sentencepiece_model_pb2.ModelProto()
    for string, score, kind in pieces:
        model.pieces.add(piece=string, score=score, type=kind)
    model.trainer_spec.model_type = algorithm
    model.normalizer_spec.name = "identity"
    data = model.SerializeToString()
    return data, SentencePieceProcessor(model_proto=data).encode("snowbird", out_type=str)


def by_transformers(algorithm, data):
    name, file = {UNIGRAM: ("T5Tokenizer", "spiece.model"), BPE: ("LlamaTokenizer", "tokenizer.model")}[algorithm]
    folder = pathlib.Path(name)
    folder.mkdir(exist_ok=True)
    (folder / file).write_bytes(data)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name}))
    return AutoTokenizer.from_pretrained(folder).tokenize("snowbird")


def by_llama_cpp(algorithm, pieces):
    strings, scores, kinds = zip(*pieces, strict=True)
    writer = gguf.GGUFWriter("model.gguf", "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model({UNIGRAM: "t5", BPE: "llama"}[algorithm])
    writer.add_tokenizer_pre("default")
    writer.add_token_list(strings)
    writer.add_token_scores([float(score) for score in scores])
    writer.add_token_types(kinds)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_space_prefix(True)
    for part in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        writer.add_tensor(f"blk.0.{part}.weight", np.zeros((WIDTH, WIDTH), np.float32))
    for part in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{part}.weight", np.ones(WIDTH, np.float32))
    writer.add_tensor("token_embd.weight", np.zeros((len(strings), WIDTH), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    parameters = xllamacpp.CommonParams()
    parameters.model.path = "model.gguf"
    parameters.n_ctx, parameters.warmup = 64, False
    server = xllamacpp.Server(parameters)
    question = json.dumps({"content": "snowbird", "add_special": False}).encode()
    request = urllib.request.Request(
        f"{server.listening_address}/tokenize", question, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        return [strings[number] for number in json.load(answer)["tokens"]]


for algorithm, label in ((UNIGRAM, "Unigram"), (BPE, "BPE")):
    for kind in (NORMAL, UNUSED):
        pieces = pieces_of(algorithm, kind)
        data, own = by_sentencepiece(algorithm, pieces)
        others = by_transformers(algorithm, data), by_llama_cpp(algorithm, pieces)
        print(label, "of type", kind, "SentencePiece", own, "transformers and llama.cpp", *others)
        assert own == ([WORD] if kind == NORMAL else ["\u2581snow", "bird"])
        assert others == ([WORD], [WORD])
PYTHON
python3 try.py 2> log || { tail -5 log; exit 1; }
