"""Several methods on one pair, each transferred and measured: ``saltlm compare``.

The directory ``OUT`` holds a model and a result per method, ``OUT/METHOD`` and
``OUT/METHOD.json``, the same of each adaptation (see `saltlm.convergence`), and
``OUT/comparison.json`` and ``OUT/comparison.md`` over all of them, of this call and of earlier
ones. What is there already is not made again.
"""

import hashlib
import itertools
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from saltlm.adapt.config import AdaptConfig
from saltlm.auxiliary import check_auxiliary_spec
from saltlm.config import TransferConfig
from saltlm.convergence import (
    adapt_and_follow,
    check_adapt_extra,
    convergence_rows,
    curves_of,
    levels_reached,
)
from saltlm.convergence_plot import plot_curves, require_matplotlib
from saltlm.directory import new_directory
from saltlm.errors import ConfigError, SaltlmError
from saltlm.evaluate.config import SuiteConfig
from saltlm.evaluate.results import Evaluation
from saltlm.methods import Choice, parse_method
from saltlm.new_model import expected_bytes, finish_model, write_model
from saltlm.pair import Pair, read_pair
from saltlm.problem import Problem, solve
from saltlm.rows import Origin
from saltlm.scoring import corpus_counts
from saltlm.text import documents, replace_text
from saltlm.vocabulary_transfer import auxiliary_of, pose_pair
from saltlm.yardstick import FAILURES, Score, score_methods

logger = logging.getLogger(__name__)

UNTOUCHED = "untouched"


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
    texts = {"target": _first(heldout, n_documents)}
    if english:
        texts["English"] = _first(english, n_documents)
    if adaptation is not None:
        check_adapt_extra()
        require_matplotlib()
    out.mkdir(parents=True, exist_ok=True)
    inputs = {"source": str(source), "plm": str(plm), "options": _options(config)}
    _claim(out / "inputs.json", inputs, texts)
    if adaptation is not None:
        _claim(out / "adapt.json", adaptation.model_dump(mode="json", exclude={"seed"}))

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
    replace_text(out / "comparison.md", markdown(comparison))
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
            **_measure(directory, texts, problem.plan.origin == Origin.LINEAR),
        }

    _once(out / f"{UNTOUCHED}.json", untouched)
    missing = [choice for choice in choices if not files[str(choice)].is_file()]
    scores = _yardstick(pair, problem, missing, config)
    for choice in choices:
        if error := _try_once(files[str(choice)], partial(transferred, choice)):
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
        if error := _try_once(out / f"{name}.json", partial(adapted, method, name, seed)):
            yield {"method": method, "seed": seed, "error": error}


def evaluate_each(comparison: dict[str, Any], out: Path, suite: SuiteConfig) -> Evaluation:
    """Run a suite on the source and on each method's model, adapted if it was.

    Args:
        comparison: as `compare` returns it.
        out: its directory; results and the table go into ``evaluation`` there, and the table
            into the models' cards.
        suite: what to measure.
    """
    from saltlm.evaluate.run import evaluate
    from saltlm.evaluate.side_by_side import write_cards, write_summary

    made: list[Path] = []
    for result in comparison["results"].values():
        ends = [run for run in result.get("adapted", ()) if "directory" in run] or [result]
        made += [out / end["directory"] for end in ends if "directory" in end]
    found = evaluate([comparison["source"], *map(str, made)], suite, out / "evaluation")
    write_summary(found, out / "evaluation")
    write_cards(found, made)
    return found


def collect(out: Path, failed: Sequence[dict[str, Any]] = ()) -> dict[str, dict[str, Any]]:
    """Return all results that a comparison's directory holds, of whatever call, by method.

    Args:
        out: the directory.
        failed: what has just failed.
    """
    files = sorted(out.glob("*.json"))
    found = [*(json.loads(file.read_text(encoding="utf-8")) for file in files), *failed]
    results = [result for result in found if "method" in result]
    first = {result["method"]: dict(result) for result in results if "seed" not in result}
    for result in results:
        if "seed" in result:
            first[result["method"]].setdefault("adapted", []).append(result)
    untouched = {UNTOUCHED: first.pop(UNTOUCHED)}
    return untouched | first


def directory_name(choice: Choice) -> str:
    """Return a name for files: the method, with its options where they are not the defaults."""
    return re.sub(r"[^\w.+-]+", "_", str(choice))


def rows_of(comparison: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield a heading and then a line per method: yardstick, bits per byte, and the new rows."""
    yield (
        *("method", "yardstick r2", "target bits per byte", "English"),
        *("mass on new rows", "norms", "rank (copied rows)"),
    )
    for name, result in comparison["results"].items():
        if "error" in result:
            yield (name, f"failed: {result['error']}", *[""] * 5)
            continue
        score, rows = result.get("yardstick", {}), result.get("rows")
        yield (
            name,
            f"{score['r2']['value']:.3f}" if score.get("r2") else "",
            _bits(result.get("target")),
            _bits(result.get("English")),
            f"{result['mass']['mass']:.1%}" if "mass" in result else "",
            f"{rows['new_norms']['median']:.2f}" if rows else "",
            f"{rows['new_rank']:.0f} ({rows['shared_rank']:.0f})" if rows else "",
        )


def markdown(comparison: dict[str, Any]) -> str:
    """Return the comparison as a Markdown table."""
    title = f"{comparison['source']} with {comparison['plm']}; {comparison['auxiliary']}"
    parts = ["# Comparison", title, _table(rows_of(comparison))]
    if curves_of(comparison):
        what = "Bits per byte after the adaptation, and the tokens (text, time) to reach a value:"
        parts += ["## Adapted", what, _table(convergence_rows(comparison))]
    return "\n\n".join(parts) + "\n"


def _table(rows: Iterator[tuple[str, ...]]) -> str:
    heading, *lines = rows
    rule = ("---",) * len(heading)
    return "\n".join("| " + " | ".join(row) + " |" for row in (heading, rule, *lines))


def _bits(seen: dict[str, Any] | None) -> str:
    if seen is None:
        return ""
    low, high = seen["interval"]
    return f"{seen['bits_per_byte']:.3f} ({low:.3f} to {high:.3f})"


def _options(config: TransferConfig) -> dict[str, Any]:
    return config.model_dump(mode="json", exclude={"method"})


def _first(files: Sequence[Path], count: int) -> list[str]:
    found = [text for text, _ in zip(documents(files), range(count), strict=False)]
    if not found:
        raise ConfigError(
            f"no text in {', '.join(map(str, files)) or 'the held-out text'}",
            "give --heldout a file with one document a line",
        )
    return found


def _claim(
    file: Path, inputs: dict[str, Any], texts: Mapping[str, list[str]] | None = None
) -> None:
    """Make sure that the results beside a file are of the same inputs; of texts it keeps a hash."""
    key = hashlib.sha256(
        json.dumps({**inputs, **(texts or {})}, sort_keys=True).encode()
    ).hexdigest()
    if not file.is_file():
        replace_text(file, json.dumps({**inputs, "sha256": key}, indent=2) + "\n")
    elif json.loads(file.read_text(encoding="utf-8"))["sha256"] != key:
        raise ConfigError(
            f"{file.parent} holds a comparison of other models, options or texts (see {file})",
            "choose another --out",
        )


def _once(file: Path, make: Callable[[], dict[str, Any]]) -> None:
    """Make a result and keep it, unless it is there."""
    if file.is_file():
        logger.info("%s: already there", file.stem)
    else:
        replace_text(file, json.dumps(make(), indent=2) + "\n")


def _try_once(file: Path, make: Callable[[], dict[str, Any]]) -> str | None:
    """Do the same and return why it failed, if it did; the next call then tries again."""
    try:
        _once(file, make)
    except FAILURES as error:
        reason = error.what if isinstance(error, SaltlmError) else str(error)
        logger.warning("%s failed: %s", file.stem, reason)
        return reason
    return None


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
        problem.task,
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

    from saltlm.evaluate.bits_per_byte import bits_per_byte
    from saltlm.evaluate.fertility import fertility
    from saltlm.step0 import new_row_mass, report_table

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
