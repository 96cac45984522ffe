"""What llama.cpp makes of texts, in a process of its own: where it stops, only that process ends.

Run as a program: texts in JSON on the standard input, their ids on the standard output.
"""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from saltlm.errors import CheckpointError

_MINUTES = 10


def has_llama_cpp() -> bool:
    """Whether llama.cpp is installed, as the package xllamacpp."""
    return find_spec("xllamacpp") is not None


def llama_cpp_ids(file: Path, texts: Sequence[tuple[str, bool]]) -> list[list[int]]:
    """Return the ids that llama.cpp gives to texts, control tokens in them recognised.

    Args:
        file: a model in the GGUF format.
        texts: what to tokenize, each with or without what the model puts around a text.

    Raises:
        CheckpointError: llama.cpp cannot load the file.
    """
    done = subprocess.run(
        [sys.executable, "-m", "saltlm.models.llama_cpp_ids", str(file)],
        input=json.dumps(list(texts)),
        capture_output=True,
        text=True,
        timeout=60 * _MINUTES,
        check=False,
    )
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if "error" in line]
        reason = lines[-1].strip() if lines else f"it ended with {done.returncode}"
        raise CheckpointError(
            f"llama.cpp cannot load what was written: {reason}",
            "serve the directory with what reads tokenizer.json: transformers, vLLM, mlx-lm",
        )
    ids: list[list[int]] = json.loads(done.stdout.splitlines()[-1])
    return ids


def _main(file: str) -> None:
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = file
    parameters.n_ctx, parameters.n_parallel, parameters.warmup = 256, 1, False
    parameters.cpuparams.n_threads = 1
    server = xllamacpp.Server(parameters)
    found = []
    for text, is_framed in json.load(sys.stdin):
        body = {"content": text, "add_special": is_framed, "parse_special": True}
        request = urllib.request.Request(
            f"{server.listening_address}/tokenize",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            found.append(json.load(answer)["tokens"])
    sys.stdout.write(f"\n{json.dumps(found)}\n")


if __name__ == "__main__":
    _main(sys.argv[1])
