"""Several methods on one pair, each transferred and measured: ``saltlm compare``.

The directory ``OUT`` holds a model and a result per method, ``OUT/METHOD`` and
``OUT/METHOD.json``, the same of each adaptation (see `saltlm.comparison.curves`), and
``OUT/comparison.json`` and ``OUT/comparison.md`` over all of them, of this call and of earlier
ones. What is there already is not made again.
"""

import itertools
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from saltlm.adaptation.config import AdaptConfig
from saltlm.auxiliary.vectors import check_auxiliary_spec
from saltlm.comparison.curves import adapt_and_follow, check_adapt_extra, curves_of, levels_reached
from saltlm.comparison.plot import plot_curves, require_matplotlib
from saltlm.comparison.score import corpus_counts
from saltlm.comparison.show import comparison_markdown
from saltlm.comparison.store import UNTOUCHED, claim, collect, directory_name, once, try_once
from saltlm.config.transfer import TransferConfig
from saltlm.evaluation.config import SuiteConfig
from saltlm.evaluation.results import Evaluation
from saltlm.files.atomic import new_directory, replace_text
from saltlm.files.documents import first
from saltlm.methods.registry import Choice, parse_method
from saltlm.record.provenance import Origin
from saltlm.scoring.holdout import Score, score_methods
from saltlm.vocabulary_transfer.parents import Pair, read_pair
from saltlm.vocabulary_transfer.problem import Problem
from saltlm.vocabulary_transfer.result import solve
from saltlm.vocabulary_transfer.transfer import auxiliary_of, pose_pair
from saltlm.vocabulary_transfer.write_model import expected_bytes, finish_model, write_model

logger = logging.getLogger(__name__)


def compare(
    source: str | Path,
    plm: str | Path,
    methods: Sequence[str],
    out: Path,
    *,
    heldout: Sequence[Path],
    english: Sequence[Path] = (),
    config: TransferConfig | None = None,
    n_documents: int = 100,
    adaptation: AdaptConfig | None = None,
    seeds: Sequence[int] = (),
) -> dict[str, Any]:
    """Transfer with each method, measure each result, and return the comparison.

    Reading, matching, auxiliary vectors and neighbours are done once. A method that fails is
    recorded with its reason and does not stop the others.

    Args:
        source: Hub id or directory of the LLM.
        plm: Hub id or directory of the PLM.
        methods: names, or ``name:option=value``; ``untouched`` stands for no transfer, and is
            measured in any case.
        out: where models and results go.
        heldout: text of the target language.
        english: text of the source's language, to see what is kept.
        config: options of the transfers.
        n_documents: so many documents of each text are measured.
        adaptation: how each model is adapted at the end; None for not at all.
        seeds: of the adaptations; each gives every model a run of its own.

    Raises:
        ConfigError: ``out`` holds the comparison of something else, or there is no text.
        SaltlmError: the pair cannot be transferred at all.
    """
    config = config or TransferConfig()
    choices = [parse_method(method) for method in methods if method != UNTOUCHED]
    check_auxiliary_spec(config.aux, config.corpus, config.fasttext)
    texts = {"target": first(heldout, n_documents)}
    if english:
        texts["English"] = first(english, n_documents)
    if adaptation is not None:
        check_adapt_extra()
        require_matplotlib()
    out.mkdir(parents=True, exist_ok=True)
    inputs = {"source": str(source), "plm": str(plm), "options": _options(config)}
    claim(out / "inputs.json", inputs, texts)
    if adaptation is not None:
        claim(out / "adapt.json", adaptation.model_dump(mode="json", exclude={"seed"}))

    pair = read_pair(str(source), str(plm), config)
    auxiliary = auxiliary_of(pair, config)
    problem = pose_pair(pair, auxiliary, config)
    failed = list(_transfer_each(out, pair, problem, choices, config, texts))
    if adaptation is not None:
        models = {str(choice): out / directory_name(choice) for choice in choices}
        if UNTOUCHED in methods:
            models = {UNTOUCHED: pair.source.directory, **models}
        for failure in failed:
            models.pop(failure["method"], None)
        failed += _adapt_each(out, models, adaptation, seeds or (adaptation.seed,))
    comparison: dict[str, Any] = {
        "source": str(source),
        "plm": str(plm),
        "auxiliary": auxiliary.description,
        "results": collect(out, failed),
    }
    curves = curves_of(comparison)
    if curves:
        comparison["levels"] = levels_reached(comparison)
    replace_text(out / "comparison.json", json.dumps(comparison, indent=2) + "\n")
    replace_text(out / "comparison.md", comparison_markdown(comparison))
    if curves:
        seen = comparison["results"][UNTOUCHED]
        drawn = next(iter(curves.values()))[0][0].bits_per_byte.keys() & texts.keys()
        untouched = {text: seen[text]["bits_per_byte"] for text in texts if text in drawn}
        plot_curves(curves, untouched, out / "comparison.svg")
    return comparison


def _transfer_each(
    out: Path,
    pair: Pair,
    problem: Problem,
    choices: Sequence[Choice],
    config: TransferConfig,
    texts: dict[str, list[str]],
) -> Iterator[dict[str, Any]]:
    """Transfer with each method and measure what comes of it; yield what failed."""
    files = {str(choice): out / f"{directory_name(choice)}.json" for choice in choices}

    def untouched() -> dict[str, Any]:
        return {"method": UNTOUCHED, **_measure(pair.source.directory, texts)}

    def transferred(choice: Choice) -> dict[str, Any]:
        directory = out / directory_name(choice)
        _write(directory, pair, problem, choice, config, scores[str(choice)])
        return {
            "method": str(choice),
            "directory": directory.name,
            "yardstick": scores[str(choice)].to_json(),
            **_measure(directory, texts, problem.plan.origin == Origin.MADE),
        }

    once(out / f"{UNTOUCHED}.json", untouched)
    missing = [choice for choice in choices if not files[str(choice)].is_file()]
    scores = _yardstick(pair, problem, missing, config)
    for choice in choices:
        if error := try_once(files[str(choice)], partial(transferred, choice)):
            yield {"method": str(choice), "error": error}


def _adapt_each(
    out: Path, models: dict[str, Path], adaptation: AdaptConfig, seeds: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """Adapt the model of each method with each seed; yield what failed."""

    def adapted(method: str, name: str, seed: int) -> dict[str, Any]:
        config = adaptation.model_copy(update={"seed": seed})
        return {"method": method, **adapt_and_follow(models[method], out / name, config)}

    for method, seed in itertools.product(models, seeds):
        name = f"{UNTOUCHED if method == UNTOUCHED else models[method].name}-adapted-{seed}"
        if error := try_once(out / f"{name}.json", partial(adapted, method, name, seed)):
            yield {"method": method, "seed": seed, "error": error}


def evaluate_each(comparison: dict[str, Any], out: Path, suite: SuiteConfig) -> Evaluation:
    """Run a suite on the source and on each method's model, adapted if it was.

    Args:
        comparison: as `compare` returns it.
        out: its directory; results and the table go into ``evaluation`` there, and the table
            into the models' cards.
        suite: what to measure.
    """
    from saltlm.evaluation.evaluate import evaluate
    from saltlm.evaluation.side_by_side import write_cards, write_summary

    made: list[Path] = []
    for result in comparison["results"].values():
        ends = [run for run in result.get("adapted", ()) if "directory" in run] or [result]
        made += [out / end["directory"] for end in ends if "directory" in end]
    found = evaluate([comparison["source"], *map(str, made)], suite, out / "evaluation")
    write_summary(found, out / "evaluation")
    write_cards(found, made)
    return found


def _options(config: TransferConfig) -> dict[str, Any]:
    return config.model_dump(mode="json", exclude={"method"})


def _write(
    directory: Path,
    pair: Pair,
    problem: Problem,
    choice: Choice,
    config: TransferConfig,
    score: Score,
) -> None:
    size = expected_bytes(pair, config)
    with new_directory(directory, force=True, expected_bytes=size) as made:
        result = replace(solve(problem, choice), score=score)
        finish_model(made, directory.name, write_model(made, pair, result, config, choice))


def _yardstick(
    pair: Pair, problem: Problem, choices: Sequence[Choice], config: TransferConfig
) -> dict[str, Score]:
    """Score methods on folds whose neighbours are found once for all of them."""
    if not choices:
        return {}
    counts = corpus_counts(pair, config.corpus)
    scores = score_methods(
        problem.inputs,
        pair.tables.embedding,
        choices,
        calibration=problem.embedding_calibration,
        counts=counts,
        seed=config.seed,
    )
    # Which method is the first, that `ahead` is relative to, depends on what was there already.
    return {score.method: replace(score, ahead=None) for score in scores}


def _measure(
    directory: Path, texts: dict[str, list[str]], is_new: torch.Tensor | None = None
) -> dict[str, Any]:
    """Return bits per byte on the texts and, of a new model, what its new rows do."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from saltlm.comparison.untrained import new_row_mass, report_table
    from saltlm.evaluation.bits_per_byte import bits_per_byte
    from saltlm.tokenizer.fertility import fertility

    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype="auto", local_files_only=True)
    model.eval()
    found: dict[str, Any] = {}
    for name, held_out in texts.items():
        bits = bits_per_byte(model, tokenizer, held_out)
        found[name] = {
            "bits_per_byte": bits.value,
            "interval": bits.interval(),
            "n_documents": len(held_out),
            "n_bytes": sum(bits.n_bytes),
            "tokens_per_word": fertility(tokenizer, held_out).tokens_per_word,
        }
    if is_new is not None and is_new.any() and not is_new.all():
        table = model.get_output_embeddings().weight.detach()
        mass = new_row_mass(model, tokenizer, texts["target"], is_new)
        found |= {"rows": asdict(report_table(table, is_new)), "mass": asdict(mass)}
    return found
