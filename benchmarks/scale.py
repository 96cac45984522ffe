"""Time by stage and peak memory of transfers of the largest sizes, beside the bound of the README.

    python benchmarks/scale.py --work DIR [--part 1] [--modes replace extend swap] \\
        [--method salt] [--new 10000 50000] [--out benchmarks/results/scale.json]

A made-up Llama in bfloat16 with 256,000 rows of 4,096 numbers, a body of 140 GB that is a file with
a hole and is shared with the result (``--link auto``), and a PLM of 250,000 rows of 768: 100,000
tokens are in both, 150,000 are new. Each transfer is a process of its own, whose resident memory is
looked at twenty times a second; the manifest says when its stages began. ``--new`` repeats
``replace`` with fewer new tokens. ``--part 0.25`` takes a quarter of the tokens and of the widths,
``--body`` a smaller body. --out is added to.
"""

import argparse
import itertools
import json
import os
import platform
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import BertConfig, LlamaConfig

SOURCE, WIDTH, PLM_WIDTH, SHARED, NEW = 256_000, 4_096, 768, 100_000, 150_000
LETTERS = "abcdefghijklmnopqrstuvwxyz"
MODES = ("replace", "extend", "swap")
BOUND = 1.2 * 2**30  # bytes beside the tables


def words():
    """Yield words, each of which but the shortest is an earlier one and a letter."""
    for length in itertools.count(1):
        yield from map("".join, itertools.product(LETTERS, repeat=length))


def byte_level(n):
    """Return a byte-level BPE of n tokens, words with a space before them."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges, seen = [], []
    for word in ("Ġ" + word for word in words()):
        if len(letters) + len(seen) == n - 1:
            break
        merges.append((word[:-1], word[-1]))
        seen.append(word)
    tokens = ["<|endoftext|>", *letters, *seen]
    made = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<|endoftext|>"])
    return made


def word_piece(n_shared, n_new):
    """Return a WordPiece of words that the other has too, and of new ones, in capitals."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    ends = [f"##{letter}" for letter in LETTERS + LETTERS.upper()]
    capitals = (word.upper() for word in words())
    tokens = [*special, *itertools.islice(words(), n_shared), *itertools.islice(capitals, n_new)]
    ids = {token: i for i, token in enumerate([*tokens, *ends])}
    made = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.add_special_tokens(special)
    return made


def write_model(folder, config, tokenizer, tables, body=None, **special):
    """Write a model directory; the body's tensors are one hole."""
    folder.mkdir(parents=True)
    config.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    save_file(tables, folder / ("model.safetensors" if body is None else "tables.safetensors"))
    if body is not None:
        write_hole(folder / "body.safetensors", body)
        places = dict.fromkeys(tables, "tables.safetensors")
        places |= dict.fromkeys(body, "body.safetensors")
        index = {"metadata": {}, "weight_map": places}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def write_hole(file, shapes):
    """Write bfloat16 zeros that take no room on the disk."""
    header, end = {}, 0
    for name, shape in shapes.items():
        n = 2 * torch.Size(shape).numel()
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": (end, end + n)}
        end += n
    text = json.dumps(header).encode()
    with file.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        out.truncate(8 + len(text) + end)


def make_source(folder, part, body_bytes):
    """Write the LLM; the number of its layers is what makes its size."""
    width, inner = int(WIDTH * part), int(3.5 * WIDTH * part)
    each = {f"self_attn.{name}_proj": (width, width) for name in "qkvo"}
    each |= {"mlp.gate_proj": (inner, width), "mlp.up_proj": (inner, width)}
    each |= {"mlp.down_proj": (width, inner)}
    each |= {name: (width,) for name in ("input_layernorm", "post_attention_layernorm")}
    size = 2 * sum(torch.Size(shape).numel() for shape in each.values())
    n_layers = max(1, round(body_bytes * part**2 / size))
    body = {
        f"model.layers.{layer}.{name}.weight": shape
        for layer in range(n_layers)
        for name, shape in each.items()
    }
    body["model.norm.weight"] = (width,)
    rows = int(SOURCE * part)
    tokenizer = byte_level(rows)
    config = LlamaConfig(
        vocab_size=rows,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=n_layers,
        num_attention_heads=32,
        num_key_value_heads=32,
        bos_token_id=0,
        eos_token_id=0,
        tie_word_embeddings=True,
        dtype="bfloat16",
        architectures=["LlamaForCausalLM"],
    )
    table = torch.randn(rows, width, dtype=torch.bfloat16)
    tables = {"model.embed_tokens.weight": table}
    names = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    write_model(folder, config, tokenizer, tables, body, **names)


def make_plm(folder, part, n_new):
    """Write the PLM."""
    tokenizer = word_piece(int(SHARED * part), int(n_new * part))
    rows, width = tokenizer.get_vocab_size(), int(PLM_WIDTH * part)
    config = BertConfig(
        vocab_size=rows, hidden_size=width, num_hidden_layers=1, architectures=["BertModel"]
    )
    config.intermediate_size, config.num_attention_heads = width, 4
    shapes = {"query": 0, "key": 0, "value": 0}
    tables = {"embeddings.word_embeddings.weight": torch.randn(rows, width)}
    tables["embeddings.position_embeddings.weight"] = torch.zeros(512, width)
    tables["embeddings.token_type_embeddings.weight"] = torch.zeros(2, width)
    layer = "encoder.layer.0"
    squares = [f"{layer}.attention.self.{name}" for name in shapes]
    squares += [f"{layer}.attention.output.dense", f"{layer}.intermediate.dense"]
    squares += [f"{layer}.output.dense", "pooler.dense"]
    norms = ["embeddings.LayerNorm", f"{layer}.attention.output.LayerNorm"]
    norms.append(f"{layer}.output.LayerNorm")
    for name in squares:
        tables[f"{name}.weight"] = torch.zeros(width, width)
    for name in norms:
        tables[f"{name}.weight"] = torch.ones(width)
    for name in squares + norms:
        tables[f"{name}.bias"] = torch.zeros(width)
    names = {name: f"[{name.partition('_')[0].upper()}]" for name in ("pad_token", "unk_token")}
    names |= {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    write_model(folder, config, tokenizer, tables, **names)


def resident(process):
    """Return the bytes that a process holds, and those of them that are no view of a file."""
    try:
        pages = [int(n) for n in Path(f"/proc/{process.pid}/statm").read_text().split()[1:3]]
    except OSError:
        pages = []
    held, of_files = pages or (0, 0)  # when it has ended
    return held * os.sysconf("SC_PAGE_SIZE"), (held - of_files) * os.sysconf("SC_PAGE_SIZE")


def transfer(source, plm, mode, out, corpus, method, *, low_memory):
    """Run a transfer; return its stages with their seconds and peaks, and the whole."""
    command = [sys.executable, "-m", "saltlm", "transfer", source, plm, "--out", out]
    command += ["--mode", mode, "--method", method, "--link", "auto", "--no-report"]
    command += ["--corpus", corpus] if mode == "swap" else []
    command += ["--set", "low_memory=true"] if low_memory else []
    began, seen = time.time(), []
    process = subprocess.Popen([str(part) for part in command])
    while process.poll() is None:
        seen.append((time.time(), *resident(process)))
        time.sleep(0.05)
    ended = seen[-1][0]
    if process.returncode:
        raise SystemExit(f"{mode}: {process.returncode}")
    manifest = json.loads((out / "saltlm" / "manifest.json").read_text())
    stages, start = {}, ended - sum(manifest["seconds"].values())
    for name, seconds in {"import": start - began, **manifest["seconds"]}.items():
        at = began if name == "import" else start
        peak = max((size for moment, size, _ in seen if at <= moment <= at + seconds), default=0)
        stages[name] = {"seconds": round(seconds, 2), "peak GiB": round(peak / 2**30, 3)}
        start = at + seconds
    return {
        "mode": mode,
        "tokens": json.loads((out / "config.json").read_text())["vocab_size"],
        "seconds": round(ended - began, 1),
        "peak bytes": max(size for _, size, _ in seen),
        "peak bytes, no view of a file": max(size for _, _, size in seen),
        "stages": stages,
    }


def with_bound(run, part, rows, *, low_memory):
    """Add the bytes of the tables, and whether memory is within them and 1.2 GiB.

    With tables in files, half of that is the bound, and views of files do not count.
    """
    tables = 2 * int(SOURCE * part) * int(WIDTH * part)
    tables += 4 * rows * int(PLM_WIDTH * part)
    tables += 2 * run["tokens"] * int(WIDTH * part)
    holds = run["peak bytes"] <= tables + BOUND
    if low_memory:
        holds = run["peak bytes, no view of a file"] <= (tables + BOUND) / 2
    return {**run, "tables bytes": tables, "holds": holds}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--part", type=float, default=1)
    parser.add_argument("--modes", nargs="*", choices=MODES, default=MODES)
    parser.add_argument("--body", type=float, default=140e9, help="bytes of all layers")
    parser.add_argument("--method", default="salt")
    parser.add_argument("--low-memory", action="store_true", help="tables in files")
    parser.add_argument("--new", nargs="*", type=int, default=[10_000, 50_000])
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    shutil.rmtree(asked.work, ignore_errors=True)
    asked.work.mkdir(parents=True)
    source, corpus = asked.work / "source", asked.work / "corpus.txt"
    make_source(source, asked.part, asked.body)
    known = list(itertools.islice(words(), 5000))
    corpus.write_text("\n".join(" ".join(known[i : i + 20]) for i in range(0, 5000, 20)))
    runs = []
    for mode, n_new in [
        *((mode, NEW) for mode in asked.modes),
        *(("replace", n) for n in asked.new),
    ]:
        plm = asked.work / f"plm-{n_new}"
        if not plm.is_dir():
            make_plm(plm, asked.part, n_new)
        rows = json.loads((plm / "config.json").read_text())["vocab_size"]
        low = {"low_memory": asked.low_memory}
        run = transfer(source, plm, mode, asked.work / "out", corpus, asked.method, **low)
        runs.append({"new": int(n_new * asked.part), **with_bound(run, asked.part, rows, **low)})
        print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
        shutil.rmtree(asked.work / "out")
    result = {
        "part": asked.part,
        "method": asked.method,
        "low memory": asked.low_memory,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "threads": torch.get_num_threads(),
        "load at the end": os.getloadavg()[0],
        "body bytes": (source / "body.safetensors").stat().st_size,
        "runs": runs,
    }
    if asked.out:
        earlier = json.loads(asked.out.read_text()) if asked.out.is_file() else []
        asked.out.write_text(json.dumps([*earlier, result], indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
