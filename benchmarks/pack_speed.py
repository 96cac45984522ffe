r"""Packing a large text: all cores, several processes that share a folder, and bounded memory.

    python benchmarks/pack_speed.py TOKENIZER_DIR TEXT.gz [--bytes 2e9] [--files 64] \
        [--out benchmarks/results/pack_speed.json]

The text is repeated in files of equal size. `encode_batch` alone has the same documents in memory,
on the same cores, and gives its results away; its speed is that of one file. Seconds are by the
clock: nothing else may run meanwhile. Peaks are those of the largest process, what it had before
it began to read taken off.
"""

import argparse
import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from saltlm.files.hashes import sha256

_AT_ONCE = 1000


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def encode_alone(tokenizer, file):
    """Seconds that the tokenizer takes for the documents of a file."""
    lines = file.read_text(encoding="utf-8").split("\n")
    begun = time.perf_counter()
    for first in range(0, len(lines), _AT_ONCE):
        tokenizer.backend_tokenizer.encode_batch(
            lines[first : first + _AT_ONCE], add_special_tokens=False
        )
    return time.perf_counter() - begun


def worker(given):
    """Pack, or encode, and print what it took."""
    from transformers import AutoTokenizer

    from saltlm.adaptation.packed_cache import pack_text
    from saltlm.adaptation.packing import Frame

    tokenizer = AutoTokenizer.from_pretrained(given.tokenizer)
    if given.worker == "encode":
        print(json.dumps({"seconds": encode_alone(tokenizer, given.text)}))
        return
    before, begun = peak(), time.perf_counter()
    packed = pack_text(str(given.text), given.key, tokenizer, Frame(0, None), cache=given.cache)
    taken = time.perf_counter() - begun
    print(json.dumps({"seconds": taken, "bytes": peak() - before, "tokens": len(packed.tokens)}))


def start(given, what, text, cache, *, cores=None):
    words = [sys.executable, __file__, str(given.tokenizer), str(text), "--worker", what]
    words += ["--cache", str(cache), "--key", text.name]
    environment = os.environ | {"TOKENIZERS_PARALLELISM": "true", "TQDM_DISABLE": "1"}
    if cores is not None:
        environment["RAYON_NUM_THREADS"] = str(cores)
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)


def all_of(processes):
    said = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit("a process failed")
    return [json.loads(one) for one in said]


def pack_with(given, text, n_processes, folder):
    """Pack a folder of files anew with so many processes."""
    cores = max(1, given.cores // n_processes)
    found = all_of([start(given, "pack", text, folder, cores=cores) for _ in range(n_processes)])
    (made,) = (path for path in folder.iterdir() if path.is_dir())
    return {
        "processes": n_processes,
        "megabytes": round(sum(file.stat().st_size for file in text.iterdir()) / 1e6),
        "files": len(list(text.iterdir())),
        "seconds": round(max(one["seconds"] for one in found), 1),
        "peak, MiB": round(max(one["bytes"] for one in found) / 2**20),
        "tokens": found[0]["tokens"],
        "sha256 of the tokens": sha256(made / "tokens.bin"),
    }


def repeated(text, folder, n_files, n_bytes):
    """Write files of whole lines, each as long as its share of the bytes."""
    folder.mkdir()
    lines = text.splitlines(keepends=True)
    place = 0
    for number in range(n_files):
        with (folder / f"{number:04}.txt").open("wb") as file:
            while file.tell() < n_bytes / n_files:
                file.write(lines[place % len(lines)])
                place += 1
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--bytes", type=float, default=2e9)
    parser.add_argument("--files", type=int, default=64)
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/pack_speed.json"))
    parser.add_argument("--worker", choices=["encode", "pack"], help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--key", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        worker(given)
        return
    text = gzip.decompress(given.text.read_bytes())
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        large = repeated(text, place / "large", given.files, given.bytes)
        small = repeated(text, place / "small", max(2, given.files // 8), given.bytes / 8)
        one = next(large.iterdir())
        (alone,) = all_of([start(given, "encode", one, place, cores=given.cores)])
        speed = one.stat().st_size / alone["seconds"]
        runs = []
        for number, (folder, n) in enumerate([(small, 1), (large, 1), (large, given.cores)]):
            run = pack_with(given, folder, n, place / f"cache {number}")
            per_second = run["megabytes"] * 1e6 / run["seconds"]
            run["of encode_batch"] = round(per_second / speed, 2)
            runs.append(run)
            print(run, flush=True)
            result = {"text": given.text.name, "cores": given.cores}
            result |= {"encode_batch alone, MB a second": round(speed / 1e6, 2), "runs": runs}
            given.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
