"""Several methods on one pair, each transferred and measured: ``saltlm compare``.

The directory ``OUT`` holds a model and a result per method, ``OUT/METHOD`` and
``OUT/METHOD.json``, the same of each adaptation (see `saltlm.comparison.curves`), and
``OUT/comparison.json`` and ``OUT/comparison.md`` over all of them, of this call and of earlier
ones. What is there already is not made again.
"""

import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from saltlm.adaptation.config import AdaptConfig
from saltlm.auxiliary.vectors import vector_files
from saltlm.comparison.curves import (
    adapt_and_follow,
    adapt_options,
    check_adapt_extra,
    levels_reached,
)
from saltlm.comparison.plot import plot_curves, require_matplotlib
from saltlm.comparison.results import (
    ENGLISH,
    TARGET,
    UNTOUCHED,
    AdaptedRun,
    Comparison,
    MethodResult,
    TextMeasurement,
)
from saltlm.comparison.score import corpus_counts
from saltlm.comparison.show import comparison_markdown
from saltlm.comparison.store import (
    claim,
    collect,
    directory_name,
    is_made,
    once,
    results_of_methods,
    try_once,
)
from saltlm.config.transfer import TransferConfig, load_config
from saltlm.errors import ConfigError
from saltlm.evaluation.config import QuickConfig, SuiteConfig
from saltlm.evaluation.results import Evaluation, hash_of, model_hash
from saltlm.files.atomic import new_directory, replace_text
from saltlm.files.documents import first
from saltlm.files.source import fingerprint
from saltlm.methods.registry import Choice, parse_method
from saltlm.models.hub import resolve_model
from saltlm.record.arrays import Origin
from saltlm.scoring.holdout import Score, score_methods
from saltlm.vocabulary_transfer.fits import make_tables
from saltlm.vocabulary_transfer.parents import Pair
from saltlm.vocabulary_transfer.prepare import check_inputs, prepare
from saltlm.vocabulary_transfer.problem import Problem
from saltlm.vocabulary_transfer.write_model import expected_bytes, finish_model, write_model

logger = logging.getLogger(__name__)

_OPTIONS = {TARGET: "--heldout", ENGLISH: "--english"}


def compare(
    source: str | Path,
    plm: str | Path,
    out: str | Path,
    *,
    methods: str | Sequence[str],
    heldout: str | Path | Sequence[str | Path],
    english: str | Path | Sequence[str | Path] = (),
    documents: int = 100,
    adapt: str | Mapping[str, Any] | None = None,
    adapt_seeds: str | Sequence[int] = (),
    quick: bool = False,
    parallel: str | Path | None = None,
    config: TransferConfig | str | Path | None = None,
    **options: Any,
) -> Comparison:
    """Transfer with each method, measure each result, and return the comparison.

    Reading, matching, auxiliary vectors and neighbours are done once. A method that fails is
    recorded with its reason and does not stop the others.

    Args:
        source: Hub id or directory of the LLM.
        plm: Hub id or directory of the PLM.
        out: where models and results go.
        methods: names, or ``name:option=value``, as a list or separated by commas; ``untouched``
            stands for no transfer, and is measured in any case.
        heldout: text of the target language that nothing was made from, one or several files.
        english: text of the source's language, to see what is kept.
        documents: so many documents of each text are measured.
        adapt: options of `saltlm.adapt`, with which each model is adapted on ``corpus`` at the end;
            a mapping, or ``key=value key=value``. None: not at all.
        adapt_seeds: each gives every model a run of its own; as a list or separated by commas.
        quick: at the end, run the suite ``quick`` of `saltlm.evaluate` on all models.
        parallel: English sentences and their translations, for ``quick``.
        config: options of the transfers, or a YAML file of them.
        **options: fields of `TransferConfig`, which win: ``corpus="german.txt"``, ...

    Raises:
        ConfigError: options that do not fit together, ``out`` holds the comparison of something
            else, or there is no text.
        SaltlmError: the pair cannot be transferred at all.
    """
    config, out = load_config(config, **options), Path(out)
    names = [name.strip() for name in methods.split(",")] if isinstance(methods, str) else methods
    choices = [parse_method(name) for name in names if name != UNTOUCHED]
    check_inputs(config, choices)
    files = {TARGET: _paths(heldout)} | ({ENGLISH: _paths(english)} if english else {})
    seeds, suite = _seeds(adapt_seeds), None
    adaptation = (
        None
        if adapt is None
        else adapt_options(adapt, data=config.corpus, heldout=files, n_documents=documents)
    )
    if seeds and adaptation is None:
        text = "" if config.corpus else " --corpus FILE"
        raise ConfigError("--adapt-seeds needs --adapt", f'for instance: --adapt "tokens=1M"{text}')
    if parallel is not None and not quick:
        raise ConfigError("--parallel needs --quick", "add --quick, or leave out --parallel")
    if quick:
        texts_of = QuickConfig(heldout=files[TARGET], english=_paths(english), parallel=parallel)
        suite = SuiteConfig(limit=documents, seed=config.seed, quick=texts_of)
    texts = {name: first(paths, documents, _OPTIONS[name]) for name, paths in files.items()}
    if adaptation is not None:
        check_adapt_extra()
        require_matplotlib()
    out.mkdir(parents=True, exist_ok=True)
    _claim(out, _inputs(source, plm, config, texts), choices, adaptation)
    prepared = prepare(source, plm, config, [str(choice) for choice in choices])
    pair, problem = prepared.pair, prepared.problem
    failed: list[MethodResult | AdaptedRun] = []
    failed += _transfer_each(out, pair, problem, choices, config, texts)
    if adaptation is not None:
        models = {str(choice): out / directory_name(choice) for choice in choices}
        if UNTOUCHED in names:
            models = {UNTOUCHED: pair.source.directory, **models}
        for failure in failed:
            models.pop(failure.method, None)
        failed += _adapt_each(out, models, adaptation, seeds or (adaptation.seed,))
    results = collect(out, failed)
    comparison = Comparison(
        str(source), str(plm), problem.auxiliary, results, levels_reached(results)
    )
    comparison.save(out)
    replace_text(out / "comparison.md", comparison_markdown(comparison))
    if comparison.curves:
        seen = results[UNTOUCHED].texts
        drawn = next(iter(comparison.curves.values()))[0][0].bits_per_byte.keys() & texts.keys()
        untouched = {text: seen[text].bits_per_byte for text in texts if text in drawn}
        plot_curves(comparison.curves, untouched, out / "comparison.svg")
    return replace(comparison, evaluation=evaluate_each(comparison, out, suite) if suite else None)


def _claim(
    out: Path, inputs: dict[str, Any], choices: Sequence[Choice], adaptation: AdaptConfig | None
) -> None:
    """Make sure that all results in a directory are of the same inputs."""
    made = results_of_methods(out)
    if claim(out / "inputs.json", inputs, made):
        (out / f"{UNTOUCHED}.json").unlink(missing_ok=True)
    for choice in choices:
        if choice.files:
            hashes = {str(file): fingerprint(file) for file in choice.files}
            name = directory_name(choice)
            claim(out / f"{name}.files.json", hashes, [file for file in made if file.stem == name])
    if adaptation is not None:
        adapted = [file for file in made if "-adapted-" in file.stem]
        adapted += out.glob("*-adapted-*/saltlm/run.json")  # begun
        claim(out / "adapt.json", adaptation.model_dump(mode="json", exclude={"seed"}), adapted)


def _paths(files: str | Path | Sequence[str | Path]) -> tuple[Path, ...]:
    return tuple(Path(file) for file in ([files] if isinstance(files, str | Path) else files))


def _seeds(given: str | Sequence[int]) -> list[int]:
    try:
        return [int(seed) for seed in (given.split(",") if isinstance(given, str) else given)]
    except ValueError as error:
        raise ConfigError(
            f"--adapt-seeds takes numbers, not {given}", "for instance: --adapt-seeds 0,1"
        ) from error


def _transfer_each(
    out: Path,
    pair: Pair,
    problem: Problem,
    choices: Sequence[Choice],
    config: TransferConfig,
    texts: dict[str, list[str]],
) -> Iterator[MethodResult]:
    """Transfer with each method and measure what comes of it; yield what failed."""
    files = {str(choice): out / f"{directory_name(choice)}.json" for choice in choices}

    def untouched() -> MethodResult:
        return _measure(UNTOUCHED, pair.source.directory, texts)

    def transferred(choice: Choice) -> MethodResult:
        directory, score = out / directory_name(choice), scores[str(choice)]
        _write(directory, pair, problem, choice, config, score)
        found = _measure(str(choice), directory, texts, problem.plan.origin == Origin.MADE)
        return replace(found, directory=directory.name, yardstick=score)

    once(out / f"{UNTOUCHED}.json", untouched)
    missing = [choice for choice in choices if not is_made(files[str(choice)])]
    scores = _yardstick(pair, problem, missing, config)
    for choice in choices:
        if error := try_once(files[str(choice)], partial(transferred, choice)):
            yield MethodResult(str(choice), {}, error=error)


def _adapt_each(
    out: Path, models: dict[str, Path], adaptation: AdaptConfig, seeds: Sequence[int]
) -> Iterator[AdaptedRun]:
    """Adapt the model of each method with each seed; yield what failed."""

    def adapted(method: str, name: str, seed: int) -> AdaptedRun:
        config = adaptation.model_copy(update={"seed": seed})
        return adapt_and_follow(method, models[method], out / name, config)

    for method, seed in itertools.product(models, seeds):
        name = f"{UNTOUCHED if method == UNTOUCHED else models[method].name}-adapted-{seed}"
        if error := try_once(out / f"{name}.json", partial(adapted, method, name, seed)):
            yield AdaptedRun(method, seed, error=error)


def evaluate_each(comparison: Comparison, out: Path, suite: SuiteConfig) -> Evaluation:
    """Run a suite on the source and on each method's model, adapted if it was.

    Args:
        comparison: as `compare` returns it.
        out: its directory; results and the table go into ``evaluation`` there, and the table
            into the models' cards.
        suite: what to measure.
    """
    from saltlm.evaluation.evaluate import evaluate
    from saltlm.evaluation.side_by_side import write_cards

    made: list[Path] = []
    for result in comparison.results.values():
        runs = [out / run.directory for run in result.adapted if run.directory]
        own = [out / result.directory] if result.directory else []
        made += runs or own
    found = evaluate([comparison.source, *map(str, made)], out / "evaluation", suite=suite)
    write_cards(found, made)
    return found


def _inputs(
    source: str | Path, plm: str | Path, config: TransferConfig, texts: dict[str, list[str]]
) -> dict[str, Any]:
    """Return the options and the hash of the content of all that the results depend on."""
    files = [*config.corpus, *config.keep, *config.calibration.unigrams]
    files += [
        file for spec in (config.aux, config.plm_vectors) for file in vector_files(spec or "plm")
    ]
    has_weights = config.plm_vectors is None
    return {
        "source": {"name": str(source), "sha256": model_hash(resolve_model(str(source)))},
        "plm": {
            "name": str(plm),
            "sha256": model_hash(resolve_model(str(plm), with_weights=has_weights)),
        },
        "options": config.model_dump(mode="json", exclude={"method"}),
        "files": {str(file): fingerprint(file) for file in files},
        "texts": {name: hash_of(documents) for name, documents in texts.items()},
    }


def _write(
    directory: Path,
    pair: Pair,
    problem: Problem,
    choice: Choice,
    config: TransferConfig,
    score: Score,
) -> None:
    size = expected_bytes(pair, config, directory)
    with new_directory(directory, force=True, expected_bytes=size) as made:
        result = replace(make_tables(pair, problem, choice, config), score=score)
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
    method: str, directory: Path, texts: dict[str, list[str]], is_new: torch.Tensor | None = None
) -> MethodResult:
    """Return bits per byte on the texts and, of a new model, what its new rows do."""
    from transformers import AutoTokenizer

    from saltlm.comparison.untrained import new_row_mass, report_table
    from saltlm.evaluation.bits_per_byte import bits_per_byte
    from saltlm.models.architecture import read_config
    from saltlm.models.skeleton import loader_of
    from saltlm.tokenizer.fertility import fertility

    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    loader = loader_of(read_config(directory))
    model = loader.from_pretrained(directory, dtype="auto", local_files_only=True)
    model.eval()
    found: dict[str, TextMeasurement] = {}
    for name, held_out in texts.items():
        bits = bits_per_byte(model, tokenizer, held_out)
        found[name] = TextMeasurement(
            bits_per_byte=bits.value,
            interval=bits.interval(),
            n_documents=len(held_out),
            n_bytes=sum(bits.n_bytes),
            tokens_per_word=fertility(tokenizer, held_out).tokens_per_word,
        )
    rows = mass = None
    if is_new is not None and is_new.any() and not is_new.all():
        table = model.get_output_embeddings().weight.detach()
        rows = report_table(table, is_new)
        mass = new_row_mass(model, tokenizer, texts[TARGET], is_new)
    return MethodResult(method, found, rows=rows, mass=mass)
