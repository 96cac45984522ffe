"""Does a PLM of our own serve the demo better than multilingual-e5-small?

    nice -n 19 python benchmarks/demo_plms.py --work DIR [--languages de ar]
        [--out benchmarks/results/demo_plms.json]

The demo's own text, budget and held-out paragraphs; the method that the yardstick prefers, a
transfer in mode ``replace``, and a training in steps of 1,024 tokens, as the demo once was. Once
with e5-small cut to the text, once with a mini gpt that `saltlm pretrain` makes of that text.
Results are written as they come, and the same command again goes on. The demo's models are fetched
if they are not in the cache.
"""

import argparse
import json
import time
from pathlib import Path

DOCUMENTS = 24  # held-out paragraphs, as the demo measures
TRAINING = {"tokens": 24_000, "sequence_length": 256, "batch_tokens": 1024, "micro_batch": 4}


def own_plm(corpus, out):
    """Return a gpt of the demo's text."""
    from saltlm import pretrain

    pretrain(out, corpus=str(corpus), arch="gpt", size="mini", save_every=1000)
    return out


def run(language, kind, work):
    """Return what the demo comes to with a PLM."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from saltlm import adapt, score, transfer
    from saltlm.evaluation.bits_per_byte import bits_per_byte
    from saltlm.files.caches import cache_folder
    from saltlm.files.documents import first
    from saltlm.recipes.demo.run import CANDIDATES, held_out, prepare_pair

    begun = time.process_time()
    pair = prepare_pair(language, work, cache_folder("demo"))
    plm = pair.plm if kind == "e5-small" else own_plm(pair.corpus, work / f"gpt-{language}")
    made_plm = time.process_time() - begun
    found = score(pair.source, plm, method=(*CANDIDATES, "global-residual:ridge=3.0"))
    _, method = found.best
    made, adapted = work / "made", work / "adapted"
    options = {"mode": "replace", "corpus": pair.corpus, "method": method, "force": True}
    result = transfer(pair.source, plm, made, **options)
    adapt(made, adapted, data=pair.corpus, resume="never", **TRAINING)
    seen = {}
    for name, place in (("before", made), ("after", adapted)):
        model = AutoModelForCausalLM.from_pretrained(place, dtype="float32")
        texts = first([held_out(language)], DOCUMENTS)
        bits = bits_per_byte(model, AutoTokenizer.from_pretrained(place), texts)
        seen[name] = {
            "bits_per_byte": bits.value,
            "interval": bits.interval(),
            "bits": [round(value, 1) for value in bits.bits],
            "bytes": list(bits.n_bytes),
        }
    (pair_scores,) = found.pairs
    return {
        "method": method,
        "r2": next(one.r2.value for one in pair_scores.scores if one.method == method),
        "tokens": len(result.embedding),
        **seen,
        "processor seconds": {
            "PLM": round(made_plm),
            "all": round(time.process_time() - begun),
        },
    }


def main():
    """Run the pairs that are missing."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--languages", nargs="+", default=("de", "ar"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/demo_plms.json"))
    args = parser.parse_args()
    results = json.loads(args.out.read_text()) if args.out.exists() else {}
    for language in args.languages:
        for kind in ("gpt", "e5-small"):
            name = f"{language}, {kind}"
            if name not in results:
                args.work.mkdir(parents=True, exist_ok=True)
                results[name] = run(language, kind, args.work)
                args.out.write_text(json.dumps(results, indent=1) + "\n")
                print(name, json.dumps(results[name]))


if __name__ == "__main__":
    main()
