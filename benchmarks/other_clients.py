"""What saltlm writes, in clients that are not transformers 5: the same ids, the same next tokens?

    python benchmarks/other_clients.py DIR ... --client reference --work WORK
    CLIENT_PYTHON benchmarks/other_clients.py DIR ... --client ctranslate2 --work WORK

Each client runs in an environment of its own, after `reference`: transformers4 (transformers 4.57),
mlx (mlx-lm and mlx[cpu]), ctranslate2, openvino (openvino-tokenizers), transformers.js (node, with
the package @huggingface/transformers below WORK), llama.cpp (the extra `export`). Compared are the
ids of the probes of `saltlm.tokenizer.probes` and of a text with what stands around it, the log
probabilities after four German prompts, and 12 greedy tokens after each; of transformers.js and
OpenVINO, which want another format of the weights, the ids. What a client raises is its result.
Results with "model": "tiny" are of a Llama of random weights (two layers, 64 wide) with SmolLM2's
tokenizer, to which the same tokens were transferred by ``--method random``.
"""

import argparse
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

PROMPTS = [
    "Der Benutzer öffnet die Datei und",
    "Bitte geben Sie Ihr Passwort ein, um",
    "Im Jahr 2024 stieg der Preis von 1250 auf 3980 Euro.",
    "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
]
NEW_TOKENS = 12
FRAMING = "framing"


def log_softmax(logits):
    shifted = np.asarray(logits, np.float64)
    shifted = shifted - shifted.max()
    return shifted - np.log(np.exp(shifted).sum())


def greedy(ids, next_logits):
    """Log probabilities after a prompt and the tokens written, given the logits after some ids."""
    ids, first = list(ids), None
    for _ in range(NEW_TOKENS):
        logits = next_logits(ids)
        first = log_softmax(logits) if first is None else first
        ids.append(int(np.argmax(logits)))
    return dict(enumerate(first)), ids[-NEW_TOKENS:]


def with_torch(directory):
    """Logits by the transformers of this environment."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()

    def next_logits(ids):
        with torch.inference_mode():
            return model(torch.tensor([ids])).logits[0, -1].numpy()

    return lambda ids: greedy(ids, next_logits)


def hugging_face_tokenizer(directory):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory)

    def encode(texts):
        return [tokenizer(text, add_special_tokens=framed)["input_ids"] for text, framed in texts]

    return encode


def transformers4(directory, work):
    return version("transformers"), hugging_face_tokenizer(directory), with_torch(directory)


def mlx(directory, work):
    import mlx.core as mx
    from mlx_lm import load

    model, tokenizer = load(str(directory))
    model.set_dtype(mx.float32)

    def next_logits(ids):
        return np.array(model(mx.array([ids]))[0, -1])

    def encode(texts):
        return [tokenizer.encode(text, add_special_tokens=framed) for text, framed in texts]

    return version("mlx-lm"), encode, lambda ids: greedy(ids, next_logits)


def ctranslate2(directory, work):
    from ctranslate2 import Generator
    from ctranslate2.converters import TransformersConverter
    from tokenizers import Tokenizer

    TransformersConverter(str(directory)).convert(str(work / "ctranslate2"), force=True)
    generator = Generator(str(work / "ctranslate2"), device="cpu", compute_type="float32")
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))

    def next_logits(ids):
        tokens = [tokenizer.id_to_token(id) for id in ids]
        return np.array(generator.forward_batch([tokens]))[0, -1]

    # It has no tokenizer; its vocabulary gives the ids back.
    return version("ctranslate2"), None, lambda ids: greedy(ids, next_logits)


def openvino(directory, work):
    from openvino import Core
    from openvino_tokenizers import convert_tokenizer
    from transformers import AutoTokenizer

    core, compiled = Core(), {}
    for is_framed in (False, True):
        tokenizer = AutoTokenizer.from_pretrained(directory)
        model = convert_tokenizer(tokenizer, add_special_tokens=is_framed)
        compiled[is_framed] = core.compile_model(model, "CPU")

    def encode(texts):
        return [compiled[framed]([text])["input_ids"][0].tolist() for text, framed in texts]

    return version("openvino-tokenizers"), encode, None


JAVASCRIPT = """
import { AutoTokenizer, env } from '@huggingface/transformers';
import fs from 'node:fs';
env.localModelPath = ''; env.allowRemoteModels = false;
const [directory, asked] = process.argv.slice(2);
const tokenizer = await AutoTokenizer.from_pretrained(directory);
const ids = JSON.parse(fs.readFileSync(asked)).map(([text, framed]) =>
  tokenizer.encode(text, { add_special_tokens: framed }));
console.log(JSON.stringify([env.version, ids]));
"""


def transformers_js(directory, work):
    (work.parent / "ids.mjs").write_text(JAVASCRIPT)
    asked = work / "asked.json"

    def run(texts):
        asked.write_text(json.dumps(texts))
        done = subprocess.run(
            ["node", "ids.mjs", directory, asked],
            capture_output=True,
            text=True,
            cwd=work.parent,
        )
        if done.returncode:
            raise RuntimeError(next(line for line in done.stderr.splitlines() if "Error" in line))
        return json.loads(done.stdout)

    return run([])[0], lambda texts: run(texts)[1], None


def llama_cpp(directory, work):
    import xllamacpp

    import saltlm
    from saltlm.models.llama_cpp_ids import llama_cpp_ids
    from saltlm.tokenizer.probes import PROBES

    file = work / "model.gguf"
    saltlm.export("gguf", directory, file, allow=[*PROBES, FRAMING], force=True)
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(file)
    parameters.n_ctx, parameters.n_parallel, parameters.warmup = 256, 1, False
    parameters.cpuparams.n_threads = 1
    server = xllamacpp.Server(parameters)

    def continue_prompt(ids):
        asked = {"prompt": ids, "n_predict": NEW_TOKENS, "temperature": 0, "logprobs": 100}
        answer = server.handle_completions(asked | {"ignore_eos": False, "cache_prompt": False})
        steps = answer["choices"][0]["logprobs"]["content"]
        shown = {one["id"]: one["logprob"] for one in steps[0]["top_logprobs"]}
        return shown, [step["id"] for step in steps]

    name = f"xllamacpp {version('xllamacpp')}"
    return name, lambda texts: llama_cpp_ids(file, texts), continue_prompt


CLIENTS = {
    "transformers4": transformers4,
    "mlx": mlx,
    "ctranslate2": ctranslate2,
    "llama.cpp": llama_cpp,
    "transformers.js": transformers_js,
    "openvino": openvino,
}


def write_reference(directory, work):
    """What tokenizer.json says, and what transformers 5 makes of the prompts."""
    from tokenizers import Tokenizer

    from saltlm.tokenizer.probes import PROBES

    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    asked = {name: (text, False) for name, text in PROBES.items()} | {FRAMING: ("word", True)}
    ids = {n: tokenizer.encode(t, add_special_tokens=f).ids for n, (t, f) in asked.items()}
    write, prompts = with_torch(directory), []
    for prompt in PROMPTS:
        given = tokenizer.encode(prompt, add_special_tokens=False).ids
        shown, written = write(given)
        prompts.append({"ids": given, "shown": [*shown.values()], "written": written})
    reference = {"asked": asked, "ids": ids, "prompts": prompts}
    (work / "reference.json").write_text(json.dumps(reference))


def compare(client, directory, work):
    """Return what a client makes of a model, beside the reference."""
    reference = json.loads((work / "reference.json").read_text())
    name, encode, continue_prompt = CLIENTS[client](directory, work)
    result = {"version": name}
    if encode is not None:
        other = {}
        asked = reference["asked"]
        for probe, ids in zip(asked, encode([*asked.values()]), strict=True):
            expected = reference["ids"][probe]
            if ids != expected:
                pairs = zip(ids, expected, strict=False)
                start = next((i for i, (a, b) in enumerate(pairs) if a != b), len(expected))
                cut = slice(max(start - 1, 0), start + 4)
                other[probe] = {"is": ids[cut], "should be": expected[cut]}
        n_same = len(reference["asked"]) - len(other)
        result["ids"] = {"same": n_same, "of": len(reference["asked"]), "other": other}
    if continue_prompt is not None:
        differences, n_alike, n_shown = [], 0, 0
        for one in reference["prompts"]:
            shown, written = continue_prompt(one["ids"])
            n_shown = len(shown)
            differences += [abs(one["shown"][id] - value) for id, value in shown.items()]
            n_alike += sum(a == b for a, b in zip(written, one["written"], strict=True))
        result["log probabilities compared"] = n_shown
        result["largest difference"] = float(f"{max(differences):.2g}")
        result["greedy tokens alike"] = n_alike
        result["of"] = NEW_TOKENS * len(PROMPTS)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--client", choices=["reference", *CLIENTS], required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/other_clients.json"))
    given = parser.parse_args()
    for directory in given.models:
        work = (given.work / directory.name).resolve()
        work.mkdir(parents=True, exist_ok=True)
        if given.client == "reference":
            write_reference(directory.resolve(), work)
            continue
        results = json.loads(given.out.read_text()) if given.out.is_file() else {}
        try:
            found = compare(given.client, directory.resolve(), work)
        except Exception as error:  # whatever stops a client is the result
            found = {"failed": f"{type(error).__name__}: {error}".partition("\n")[0]}
        results.setdefault(directory.name, {})[given.client] = found
        given.out.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
        print(directory.name, given.client, json.dumps(found, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    sys.exit(main())
