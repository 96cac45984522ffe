"""From a text to an LLM that has its language: every step of saltlm, in one directory.

``OUT/recipe.yaml`` holds all options, to be edited and run again; ``OUT/steps/NAME.json`` says what
a step was made of and what came out. A step is done again only if that has changed, and the steps
that train go on where they were killed. Where the directory lies is no part of what a step is made
of: the run is the same from wherever it is called.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from saltlm.adaptation.adapt import adapt
from saltlm.adaptation.ngram_teacher import NGRAMS
from saltlm.auxiliary.make import vectors
from saltlm.comparison.score import score
from saltlm.config.recommended import load_recommended
from saltlm.config.transfer import PRESETS
from saltlm.errors import OutputError
from saltlm.evaluation.evaluate import evaluate
from saltlm.evaluation.results import model_hash
from saltlm.evaluation.side_by_side import of_evaluation
from saltlm.files.atomic import disk_errors, replace_text
from saltlm.files.source import fingerprint
from saltlm.inspection.report.report import report
from saltlm.models.hub import resolve_model
from saltlm.pretraining.config import DECIDE_TOKENS
from saltlm.pretraining.pretrain import pretrain
from saltlm.recipes.config import RUN_FILE, RecipeConfig, load_recipe_config, run_of
from saltlm.recipes.corpus import split_corpus
from saltlm.recipes.plan import RecipePlan, plan_recipe
from saltlm.recipes.steps import Steps
from saltlm.tokenizer.budget import MIN_OCCURRENCES, ngrams_teach
from saltlm.vocabulary_transfer.parents import load_plm, load_source
from saltlm.vocabulary_transfer.transfer import transfer

_METHODS = ("salt", PRESETS["best"]["method"], "mean")
_WITH_VECTORS = {"preset": "best", "method": "salt"}  # which looks for neighbours; best's does not


@dataclass(frozen=True, repr=False)
class RecipeResult:
    """A run of a recipe.

    Attributes:
        directory: the LLM that has the language.
        config: the file of all options.
        steps: what came out of each, by name.
    """

    directory: Path
    config: Path
    steps: dict[str, dict[str, Any]]

    def __str__(self) -> str:
        lines = [f"\n  {name}: {result['said']}" for name, result in self.steps.items()]
        return f"{self.directory}{''.join(lines)}"

    def __repr__(self) -> str:
        return f"RecipeResult({self})"


def recipe(
    language: str | None = None,
    *,
    out: str | Path | None = None,
    plan: bool = False,
    config: RecipeConfig | str | Path | None = None,
    **options: Any,
) -> RecipeResult | RecipePlan:
    """Do all that it takes to give an LLM a language, from the text to the measured model.

    The corpus is cleaned and some of it held out; a PLM is trained, unless one is given; methods
    are scored; the LLM gets the vocabulary, is trained on the text, and measured beside what it
    was. With ``teacher="gpt"`` a small gpt with the new model's tokens is trained, too, and teaches
    it. Called again, it goes on.

    Args:
        language: its name, in one word.
        out: the run's directory; if not given the one that the file of options lies in, or else
            ``recipe-LANGUAGE``.
        plan: only say what would be done, how long it takes, and how much memory.
        config: options, or a YAML file of them: ``OUT/recipe.yaml`` of an earlier run.
        **options: fields of `RecipeConfig`, which win: ``corpus="german.txt"``, ``source="llm"``.

    Raises:
        SaltlmError: the options do not fit together, or a step fails; those before it are kept.
    """
    out = out or run_of(config, language)
    config = load_recipe_config(config, language=language, **options)
    planned = plan_recipe(config)
    if plan:
        return planned
    run = Path(out or f"recipe-{config.language.lower()}").expanduser()
    is_run = (run / RUN_FILE).is_file() or not run.exists()
    if not is_run and (not run.is_dir() or any(run.iterdir())):
        raise OutputError(f"{run} exists and is not a run of saltlm recipe", "choose another --out")
    _check_models(config)
    with disk_errors(run):
        run.mkdir(parents=True, exist_ok=True)
        values = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        replace_text(run / RUN_FILE, values)
    steps = Steps(run, {})
    _do(config, planned, steps)
    return RecipeResult(run / "adapted", run / RUN_FILE, steps.results)


def _check_models(config: RecipeConfig) -> None:
    """Look at the two models, before hours of work for a transfer that would be refused."""
    options = load_recommended(None, **{"corpus": config.corpus, **config.transfer})
    load_source(str(config.source), options)
    if config.plm is not None:
        load_plm(config.plm, options)


def _do(config: RecipeConfig, planned: RecipePlan, steps: Steps) -> None:
    """Do the steps, each made of the options that concern it and of those before it."""
    run, source = steps.run, str(config.source)
    content = model_hash(resolve_model(source))
    same = {"corpus": [fingerprint(text) for text in config.corpus], "seed": config.seed}
    same |= {"english": [fingerprint(text) for text in config.english]}
    corpus = steps.do(
        "corpus",
        same | {"heldout": config.heldout_documents, "language": config.language},
        lambda _: _split(config, run / "corpus"),
        [*_texts("corpus"), *(_texts("corpus/english") if config.english else ())],
    )
    budget = steps.do(
        "budget",
        {"budget": config.budget, "source": content},
        lambda _: {"tokens": planned.n_tokens, "said": f"{planned.n_tokens:,} tokens"},
    )
    text, heldout = _texts(run.resolve() / "corpus")
    plm, plm_key = _plm(config, steps, corpus["key"])
    options: dict[str, Any] = {"corpus": text, "seed": config.seed}
    of = {"plm": plm_key, "source": content, "corpus": corpus["key"], "options": config.transfer}
    if config.vectors:
        out = run.resolve() / "vectors.bin"
        made = {"corpus": corpus["key"], "seed": config.seed}
        found = steps.do("vectors", made, lambda _: _vectors(config, out, text), [out.name])
        options |= _WITH_VECTORS | {"aux": f"vectors:{out}"}
        of["vectors"] = found["key"]
    options |= config.transfer
    if load_recommended(None, **options).vocabulary == "auto":
        options = {"budget": budget["tokens"]} | options
        of["budget"] = options["budget"]
        if ngrams_teach(options["budget"]):  # then so many new tokens are chosen that they must
            if config.adapt.get("teacher", _named_teacher(config, budget["tokens"])) == NGRAMS:
                of["vocabulary"] = f"for {NGRAMS}"
            else:
                options = {"min_occurrences": MIN_OCCURRENCES} | options
    steps.do("score", of, lambda _: _score(source, plm, options))
    out = run / "transferred"
    made = steps.do("transfer", of, lambda _: _transfer(source, plm, out, options), [out.name])
    of = {"model": made["key"], "tokens": budget["tokens"], "options": config.adapt}
    of["teacher"] = teacher = _named_teacher(config, budget["tokens"])
    if teacher == "gpt":
        learnt = {"model": made["key"], "corpus": corpus["key"], "seed": config.seed}
        learnt |= {"options": _options_of_teacher(config)}
        taught = steps.do("teacher", learnt, partial(_teacher, config, run), ["teacher"])
        of["teacher"] = taught["key"]
    adapted = steps.do(
        "adapt",
        of,
        lambda resume: _adapt(config, run, text, heldout, budget["tokens"], resume),
        ["adapted"],
    )
    of = {"model": adapted["key"]}
    results = ["evaluation/evaluation.json"]
    steps.do("evaluate", of, lambda _: _evaluate(config, run, heldout), results)
    if config.report:
        steps.do("report", of, lambda _: _report(run), ["report.html"])


def _plm(config: RecipeConfig, steps: Steps, corpus: str) -> tuple[str, str]:
    """Return the PLM that is given, or trained on the corpus, and what identifies it."""
    if config.plm is not None:
        return config.plm, model_hash(resolve_model(config.plm))
    of = {"corpus": corpus, "arch": config.arch, "seed": config.seed, "options": config.pretrain}
    made = steps.do("pretrain", of, lambda resume: _pretrain(config, steps.run, resume), ["plm"])
    return str(steps.run / "plm"), made["key"]


def _split(config: RecipeConfig, folder: Path) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    found = split_corpus(
        config.corpus,
        folder,
        n_heldout=config.heldout_documents,
        seed=config.seed,
        is_english=config.language.lower() == "english",
    )
    if not config.english:
        return asdict(found) | {"said": str(found)}
    english = folder / "english"
    english.mkdir(exist_ok=True)
    kept = split_corpus(
        config.english,
        english,
        n_heldout=config.heldout_documents,
        seed=config.seed,
        is_english=True,
        option="--english",
    )
    return asdict(found) | {"english": asdict(kept), "said": f"{found}; English: {kept}"}


def _texts(folder: str | Path) -> tuple[str, str]:
    """Return the files that are trained on and held out."""
    return f"{folder}/train.jsonl", f"{folder}/heldout.jsonl"


def _pretrain(config: RecipeConfig, run: Path, resume: str) -> dict[str, Any]:
    text, heldout = _texts(run.resolve() / "corpus")
    options = {"corpus": text, "heldout": heldout, "arch": config.arch, "seed": config.seed}
    made = pretrain(run / "plm", resume=resume, **{**options, **config.pretrain})
    return {"reasons": made.reasons, "said": str(made)}


def _named_teacher(config: RecipeConfig, n_tokens: int) -> str:
    """Return what teaches a run of so many tokens: ngrams, gpt or none."""
    if config.teacher != "auto":
        return config.teacher
    return NGRAMS if ngrams_teach(n_tokens) else "none"


def _teacher(config: RecipeConfig, run: Path, resume: str) -> dict[str, Any]:
    text, heldout = _texts(run.resolve() / "corpus")
    options: dict[str, Any] = {"corpus": text, "heldout": heldout, "seed": config.seed}
    options |= _options_of_teacher(config)
    options |= {"arch": "gpt", "tokenizer_of": run.resolve() / "transferred"}
    made = pretrain(run / "teacher", resume=resume, **options)
    return {"reasons": made.reasons, "said": str(made)}


def _options_of_teacher(config: RecipeConfig) -> dict[str, Any]:
    """Return those of pretraining that say nothing of the tokens and the architecture."""
    others = (*DECIDE_TOKENS, "arch", "tokenizer_of")
    return {name: value for name, value in config.pretrain.items() if name not in others}


def _vectors(config: RecipeConfig, out: Path, text: str) -> dict[str, Any]:
    return {"said": str(vectors("train", corpus=text, out=out, seed=config.seed, force=True))}


def _score(source: str, plm: str, options: Mapping[str, Any]) -> dict[str, Any]:
    found = score(source, plm, method=_METHODS, config=load_recommended(None, **options))
    said = " ".join(str(found).split())
    return {"scores": [pair.to_json() for pair in found.pairs], "said": said}


def _transfer(source: str, plm: str, out: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    made = transfer(source, plm, out, force=True, **options)
    counts = {name: int(count) for name, count in made.counts.items()}
    said = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    return {"counts": counts, "said": said}


def _adapt(
    config: RecipeConfig, run: Path, text: str, heldout: str, n_tokens: int, resume: str
) -> dict[str, Any]:
    options: dict[str, Any] = {"data": text, "heldout": heldout}
    if config.english:
        english, kept = _texts(run.resolve() / "corpus" / "english")
        options |= {"english": english, "heldout": {"target": heldout, "english": kept}}
    teacher = _named_teacher(config, n_tokens)
    options["teacher"] = run.resolve() / "teacher" if teacher == "gpt" else teacher
    options |= {"tokens": n_tokens, "seed": config.seed, **config.adapt}
    done = adapt(run / "transferred", run / "adapted", resume=resume, **options)
    return {"bits_per_byte": done.bits_per_byte, "said": str(done)}


def _evaluate(config: RecipeConfig, run: Path, heldout: str) -> dict[str, Any]:
    models: list[str | Path] = [str(config.source), run / "transferred", run / "adapted"]
    english = _texts(run.resolve() / "corpus" / "english")[1] if config.english else None
    found = evaluate(models, run / "evaluation", heldout=heldout, english=english)
    return {"said": str(found), "verdict": of_evaluation(found)}


def _report(run: Path) -> dict[str, Any]:
    made = report([run / "adapted", run / "evaluation"], run / "report.html")
    return {"warnings": made.warnings, "said": str(made.file)}
