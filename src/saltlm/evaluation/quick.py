"""The suite ``quick``: minutes on a CPU, any language, from files of the user."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from saltlm.errors import ConfigError
from saltlm.evaluation.bits_per_byte import bits_per_byte
from saltlm.evaluation.chat import answers_task, instructions_task
from saltlm.evaluation.code import code_task, read_functions
from saltlm.evaluation.config import QuickConfig
from saltlm.evaluation.generation import N_NEW, generate, prompt_of
from saltlm.evaluation.instructions import read_instructions
from saltlm.evaluation.ranking import draw_candidates, rank_translations
from saltlm.evaluation.results import BUSY, Failure, hash_of, ratio
from saltlm.evaluation.retrieval import retrieved, sentence_vectors
from saltlm.evaluation.task import ENGINE, Measured, Subject, Task, Work, planned
from saltlm.files.documents import first
from saltlm.files.parallel import SentencePair, first_pairs
from saltlm.tokenizer.fertility import fertility

logger = logging.getLogger(__name__)

LIMIT = 200
_WAYS = ("English to target", "target to English")


def quick_tasks(config: QuickConfig, *, limit: int | None, seed: int) -> Iterator[Task | Failure]:
    """Yield what can be measured on the given files, and what cannot with the reason.

    Args:
        config: the files.
        limit: documents and pairs of each; by default 200.
        seed: of distractors and bootstrap.
    """
    n = limit or LIMIT
    heldout, parallel = config.heldout, config.parallel
    if heldout:
        yield planned(
            "target text", lambda: text_task("target text", first(heldout, n, "--heldout"), seed)
        )
    for name, files in _kinds(config.english).items():
        yield planned(name, partial(_text_task, name, files, n, seed))
    if heldout:
        n_prompts = config.prompts
        yield planned(
            "generation", lambda: generation_task(first(heldout, n, "--heldout"), n_prompts, seed)
        )
    if parallel is not None:
        k = config.distractors
        yield planned("retrieval", lambda: retrieval_task(first_pairs(parallel, n), seed))
        yield planned("ranking", lambda: ranking_task(first_pairs(parallel, n), k, seed))
    yield from _kept_tasks(config, n, seed)


def _kept_tasks(config: QuickConfig, n: int, seed: int) -> Iterator[Task | Failure]:
    """Yield what says whether a model can still do what it could: chat, code, answers."""
    if config.chat or config.instructions is not None:
        for language in dict.fromkeys(["en", config.language or "en"]):
            yield planned(
                f"chat, {language}", partial(_chat_task, config.instructions, language, n, seed)
            )
    if config.answers is not None:
        file = config.answers
        yield planned("answers", lambda: answers_task(first_pairs(file, n), seed))
    if config.code:
        yield planned("code", lambda: code_task(read_functions(config.functions)[:n], seed))


def _chat_task(file: Path | None, language: str, n: int, seed: int) -> Task:
    return instructions_task(language, read_instructions(file).of(language)[:n], seed)


def _text_task(name: str, files: Sequence[Path], n: int, seed: int) -> Task:
    return text_task(name, first(files, n, "--english"), seed)


def _kinds(files: Sequence[Path]) -> dict[str, list[Path]]:
    """Return the files of each kind of English text: those under one name, those without one."""
    kinds: dict[str, list[Path]] = {}
    for file in files:
        name, is_named, path = str(file).partition("=")
        if not is_named or file.exists():
            name, path = "", str(file)
        kinds.setdefault(f"English text, {name}" if name else "English text", []).append(Path(path))
    return kinds


def text_task(name: str, texts: Sequence[str], seed: int) -> Task:
    """Return the task: bits per byte of texts, and how finely the tokenizer cuts them."""

    def measure(subject: Subject) -> Measured:
        model, tokenizer = subject.model, subject.tokenizer
        found = bits_per_byte(model, tokenizer, texts)
        n_words = [len(text.split()) for text in texts]
        return Measured(
            {
                "bits per byte": ratio(found.bits, found.n_bytes, better="lower", seed=seed),
                "tokens per word": ratio(found.n_tokens, n_words, better="lower", seed=seed),
                "bytes lost": ratio(found.n_lost, found.n_bytes, better="lower", seed=seed),
            }
        )

    return Task(name, "1", ENGINE, {}, hash_of(list(texts)), seed, measure, Work(texts))


def generation_task(texts: Sequence[str], n_prompts: int, seed: int) -> Task:
    """Return the task: what the model writes after the beginnings of texts, and how fast.

    Tokens of different tokenizers do not compare, so the speed is also given in bytes: as many to
    a token as the texts have.
    """
    prompts = [prompt_of(text) for text in texts[:n_prompts]]

    def measure(subject: Subject) -> Measured:
        model, tokenizer = subject.model, subject.tokenizer
        generated = generate(model, tokenizer, prompts)
        outputs, share = generated.outputs, generated.processor_share
        if share < BUSY:
            logger.warning("the machine was busy with other work: speeds are worth little")
        n_tokens = [output.n_tokens for output in outputs]
        seconds = [output.seconds for output in outputs]
        per_token = fertility(tokenizer, texts).bytes_per_token
        n_bytes = [n * per_token for n in n_tokens]
        sound = [float(not output.problem) for output in outputs]
        return Measured(
            {
                "sound outputs": ratio(sound, better="higher", seed=seed),
                "tokens per second": ratio(n_tokens, seconds, better=None, seed=seed),
                "bytes per second": ratio(n_bytes, seconds, better="higher", seed=seed),
            },
            {"processor share": share, "outputs": [asdict(output) for output in outputs]},
        )

    settings = {"new tokens": N_NEW, "prompts": len(prompts)}
    work = Work(prompts, n_written=N_NEW * len(prompts))
    return Task("generation", "1", ENGINE, settings, hash_of(list(texts)), seed, measure, work)


def retrieval_task(pairs: Sequence[SentencePair], seed: int) -> Task:
    """Return the task: sentences find their translations by hidden states, at each layer."""
    english, target = [pair.english for pair in pairs], [pair.target for pair in pairs]

    def measure(subject: Subject) -> Measured:
        model, tokenizer = subject.model, subject.tokenizer
        left, right = (sentence_vectors(model, tokenizer, side) for side in (english, target))
        hits = [retrieved(left, right).double(), retrieved(right, left).double()]
        layers = {way: hit.mean(1).tolist() for way, hit in zip(_WAYS, hits, strict=True)}
        best = int(np.sum(list(layers.values()), 0).argmax())
        return Measured(
            {
                f"{way}, best layer": ratio(hit[best].tolist(), better="higher", seed=seed)
                for way, hit in zip(_WAYS, hits, strict=True)
            },
            {"best layer": best, "layers": layers},
        )

    name = f"retrieval, 1 of {len(pairs)}"
    work = Work(english + target)
    return Task(name, "1", ENGINE, {}, hash_of([english, target]), seed, measure, work)


def ranking_task(pairs: Sequence[SentencePair], n_distractors: int, seed: int) -> Task:
    """Return the task: the right translation among wrong ones is the cheapest."""
    if len(pairs) <= n_distractors:
        raise ConfigError(
            f"{len(pairs)} pairs do not have {n_distractors} distractors for each",
            "give more pairs"
            if len(pairs) < 2
            else f"give more pairs, or --suite FILE.yaml with"
            f" quick: {{distractors: {len(pairs) - 1}}}",
        )
    sides = [pair.english for pair in pairs], [pair.target for pair in pairs]
    candidates = draw_candidates(len(pairs), n_distractors, seed)

    def measure(subject: Subject) -> Measured:
        model, tokenizer = subject.model, subject.tokenizer
        metrics = {}
        for way, (sentences, translations) in zip(_WAYS, (sides, sides[::-1]), strict=True):
            found = rank_translations(model, tokenizer, sentences, translations, candidates)
            for name, right in {"": found.is_first, ", by gain": found.gains_most}.items():
                metrics[way + name] = ratio(right.tolist(), better="higher", seed=seed)
        return Measured(metrics)

    name = f"ranking, 1 of {n_distractors + 1}"
    settings = {"distractors": n_distractors}
    work = Work(sides[0] + sides[1], passes=2 * n_distractors + 3)
    return Task(name, "1", ENGINE, settings, hash_of(list(sides)), seed, measure, work)
