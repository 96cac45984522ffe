"""Question answering from files in SQuAD's layout (MLQA, XQuAD), as a task of the harness."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from saltlm.errors import ConfigError
from saltlm.evaluation.answers import LANGUAGES, exact_match, f1
from saltlm.evaluation.config import QuestionsConfig
from saltlm.evaluation.harness import harness_task, quiet
from saltlm.evaluation.results import hash_of
from saltlm.evaluation.task import Task
from saltlm.files.documents import whole_text
from saltlm.files.json_object import parse_json

logger = logging.getLogger(__name__)

_LAYOUT = (
    'the layout is {"data": [{"paragraphs": [{"context": ..., "qas": [{"id": ..., "question": ...,'
    ' "answers": [{"text": ...}]}]}]}]}'
)
_LONGEST = 128  # tokens of an answer; it ends with its line

Question = dict[str, Any]  # context, question, answers: what a harness task calls a document


def read_questions(file: Path) -> list[Question]:
    """Return the questions of a ``.json`` or ``.json.gz``, each with its context and answers.

    Raises:
        ConfigError: the file cannot be read, or something in it is not as in SQuAD 1.1.
    """
    text = whole_text(file)
    try:
        paragraphs = [
            paragraph for article in parse_json(text)["data"] for paragraph in article["paragraphs"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{file} is not in SQuAD's layout: {type(error).__name__}: {error}",
            _LAYOUT,
        ) from error
    found = []
    for number, paragraph in enumerate(paragraphs, start=1):
        try:
            found += _questions(paragraph)
        except (KeyError, TypeError) as error:
            raise ConfigError(
                f"{file}: paragraph {number} is not as in SQuAD: {type(error).__name__}: {error}",
                'its qas are [{"id": ..., "question": ..., "answers": [{"text": ...}]}]',
            ) from error
    if not found:
        raise ConfigError(f"{file} holds no question", _LAYOUT)
    for question in found:
        if not question["answers"]:
            raise ConfigError(f"{file}: question {question['id']} has no answer", _LAYOUT)
    return found


def question_task(config: QuestionsConfig, *, limit: int | None, seed: int, batch: int) -> Task:
    """Return the task: answers generated after context and question, exact match and F1.

    Args:
        config: file, languages and prompt.
        limit: so many questions; None: all.
        seed: of the few-shot examples and the bootstrap.
        batch: questions at once.
    """
    from datasets import Dataset
    from lm_eval.api.task import ConfigurableTask

    questions = read_questions(config.file)[:limit]
    splits = {"test": questions}
    if config.shots:
        if config.examples is None:
            raise ConfigError(
                f"{config.shots} shots for {config.file}: there are no examples to show",
                "give examples: a file of other questions in the same layout",
            )
        splits["examples"] = read_questions(config.examples)
    language = config.context.lower().partition("-")[0]
    if language not in LANGUAGES:
        logger.warning(
            "%s: MLQA says nothing of answers in %r: their articles stay, their words are what is"
            " between white space",
            config.file,
            config.context,
        )

    def score(question: Question, outputs: Sequence[str]) -> dict[str, float]:
        given = outputs[0].strip(), question["answers"], language
        return {"exact match": exact_match(*given), "F1": f1(*given)}

    with quiet():
        task = ConfigurableTask(
            config={
                "task": config.name or config.file.name.partition(".")[0],
                "custom_dataset": lambda **_: {
                    name: Dataset.from_list(rows) for name, rows in splits.items()
                },
                "test_split": "test",
                "fewshot_split": "examples" if config.shots else None,
                "output_type": "generate_until",
                "doc_to_text": lambda question: config.prompt.format(**question),
                "doc_to_target": lambda question: question["answers"][0],
                "process_results": score,
                "metric_list": [
                    {"metric": name, "aggregation": "mean", "higher_is_better": True}
                    for name in ("exact match", "F1")
                ],
                "generation_kwargs": {
                    "until": ["\n"],
                    "max_gen_toks": _LONGEST,
                    "do_sample": False,
                },
            }
        )
    name = task.task_name
    made = harness_task(
        name, {"tasks": {name: task}}, config.shots, limit=None, seed=seed, batch=batch
    )
    settings = config.model_dump(mode="json", exclude={"file", "name", "examples"})
    return replace(
        made,
        version="1",
        settings={**settings, "examples": hash_of(splits.get("examples")), "most": _LONGEST},
    )


def _questions(paragraph: Mapping[str, Any]) -> list[Question]:
    context = paragraph["context"]
    return [
        {
            "id": str(item["id"]),
            "context": context,
            "question": item["question"],
            "answers": [answer["text"] for answer in item["answers"]],
        }
        for item in paragraph["qas"]
    ]
