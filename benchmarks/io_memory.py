"""Peak memory of reading the tables and writing a new model, beside the bound.

The bound is the tables involved (source, PLM, new) plus 1 GiB, whatever the size of the body. Two
made-up sharded Llama-like checkpoints differ only in their bodies, which are sparse zeros. The
tables are read and the new model is written in a process of its own, whose peak resident set is
reported as JSON.

    python benchmarks/io_memory.py --out benchmarks/results/io_memory.json
"""

import argparse
import json
import math
import resource
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import BertConfig, LlamaConfig

WIDTH, INNER = 2048, 8192
SOURCE_ROWS, PLM_ROWS, NEW_ROWS = 128_256, 120_000, 100_000
PLM_WIDTH = 768
SHARDS = 6


def body(gigabytes: float) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The names and shapes of the layers of a body of about this size in bfloat16."""
    layers = max(1, round(gigabytes * 1e9 / (2 * 3 * WIDTH * INNER)))
    for layer in range(layers):
        for part, shape in (("up", (INNER, WIDTH)), ("gate", (INNER, WIDTH))):
            yield f"model.layers.{layer}.mlp.{part}_proj.weight", shape
        yield f"model.layers.{layer}.mlp.down_proj.weight", (WIDTH, INNER)


def write_sparse(file: Path, shapes: dict[str, tuple[int, ...]]) -> int:
    """Writes a bfloat16 safetensors file of zeros that takes no room on the disk."""
    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": (start, end)}
    text = json.dumps(header).encode()
    with file.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        out.truncate(8 + len(text) + end)
    return end


def make_source(directory: Path, gigabytes: float) -> int:
    """Makes the checkpoint and returns the bytes of its body."""
    directory.mkdir()
    LlamaConfig(vocab_size=SOURCE_ROWS, hidden_size=WIDTH, intermediate_size=INNER).save_pretrained(
        directory
    )
    layers = list(body(gigabytes))
    names = [f"model-{i + 1:05}-of-{SHARDS + 1:05}.safetensors" for i in range(SHARDS + 1)]
    weight_map, total = {}, 0
    for number, file in enumerate(names[:-1]):
        shapes = dict(layers[number::SHARDS])
        total += write_sparse(directory / file, shapes)
        weight_map |= dict.fromkeys(shapes, file)
    table = torch.randn(SOURCE_ROWS, WIDTH, dtype=torch.bfloat16)
    tables = {"model.embed_tokens.weight": table, "lm_head.weight": table.flip(0)}
    save_file(tables, directory / names[-1])
    weight_map |= dict.fromkeys(tables, names[-1])
    index = directory / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return total


def make_plm(directory: Path) -> None:
    BertConfig(vocab_size=PLM_ROWS, hidden_size=PLM_WIDTH).save_pretrained(directory)
    table = torch.randn(PLM_ROWS, PLM_WIDTH)
    save_file({"embeddings.word_embeddings.weight": table}, directory / "model.safetensors")


def measure(source: Path, plm: Path, out: Path) -> dict[str, float]:
    """Reads and writes as a transfer does."""
    from saltlm.files.atomic import new_directory
    from saltlm.models.architecture import read_config
    from saltlm.models.checkpoint import open_checkpoint
    from saltlm.models.token_tables import read_tables, replacements
    from saltlm.models.write import write_checkpoint

    started = time.perf_counter()
    checkpoint = open_checkpoint(source)
    old = read_tables(checkpoint, read_config(source), side="source")
    donor = read_tables(open_checkpoint(plm), read_config(plm), side="plm")
    read = time.perf_counter()
    new = [torch.ones(NEW_ROWS, WIDTH, dtype=torch.bfloat16) for _ in range(2)]
    replaced = replacements(checkpoint, old, new[0], new[1], None)
    with new_directory(out, force=False, expected_bytes=checkpoint.nbytes) as fresh:
        write_checkpoint(checkpoint, fresh, replaced)
    held = [old.embedding, old.head, donor.embedding, *new]
    return {
        "tables_bytes": sum(table.nbytes for table in held),
        "checkpoint_bytes": checkpoint.nbytes,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "read_seconds": round(read - started, 2),
        "write_seconds": round(time.perf_counter() - read, 2),
    }


def apart(function: Callable[..., Any], *arguments: object) -> Any:
    """Calls a function in a new process: a process starts with the peak of the one it came from."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def run(gigabytes: float, plm: Path, folder: Path) -> dict[str, float | bool]:
    body_bytes = apart(make_source, folder / "source", gigabytes)
    measured = apart(measure, folder / "source", plm, folder / "out")
    bound = measured["tables_bytes"] + 2**30
    within = measured["peak_rss_bytes"] <= bound
    return {"body_bytes": body_bytes, **measured, "bound_bytes": bound, "within_bound": within}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="JSON file to write; default: standard output")
    parser.add_argument("--body-gb", type=float, nargs="+", default=[0.5, 4.0])
    options = parser.parse_args()
    runs = []
    with tempfile.TemporaryDirectory() as scratch:
        plm = Path(scratch) / "plm"
        apart(make_plm, plm)
        for gigabytes in options.body_gb:
            with tempfile.TemporaryDirectory(dir=scratch) as folder:
                runs.append(run(gigabytes, plm, Path(folder)))
    text = json.dumps({"torch": torch.__version__, "runs": runs}, indent=2) + "\n"
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
