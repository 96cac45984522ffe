"""What a suite consists of: the fields of ``saltlm evaluate --suite FILE.yaml``.

Every field's description is its help text.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator, model_validator

from saltlm.config.reading import Files, Section, given, read_yaml, validated
from saltlm.errors import ConfigError
from saltlm.evaluation.paper import paper_tasks


def _as_task(value: Any) -> Any:
    return {"task": value} if isinstance(value, str) else value


PROMPT = "Context: {context}\n\nQuestion: {question}\n\nAnswer:"


class QuickConfig(Section):
    """The measurements that need no network, from files of the user."""

    heldout: Files = Field((), description="text of the target language that no model has seen")
    english: Files = Field(
        (),
        description="English text, to see how much of English is kept; texts with a name are"
        " measured one by one",
        json_schema_extra={"metavar": "[NAME=]FILE"},
    )
    parallel: Path | None = Field(
        None,
        description="sentences and their translations, a pair a line: English, tab, target"
        " language; or two files, EN,DE",
    )
    chat: bool = Field(
        False,
        description="measure whether the chat template works and instructions are followed, in"
        " English and in the language of --lang",
    )
    language: str | None = Field(None, description="language of the instructions, beside English")
    instructions: Path | None = Field(
        None, description="your own instructions with their rules, instead of saltlm's"
    )
    answers: Path | None = Field(
        None, description="questions and answers, a pair a line: question, tab, answer"
    )
    code: bool = Field(
        False,
        description="let models complete short functions and RUN what they write, in a process with"
        " limits on time and memory",
    )
    functions: Path | None = Field(
        None, description="your own functions with their tests, instead of saltlm's"
    )
    prompts: int = Field(
        8, ge=1, description="number of beginnings of held-out text that a model continues"
    )
    distractors: int = Field(3, ge=1, description="wrong translations beside the right one")

    @model_validator(mode="after")
    def _runs_code_if_asked(self) -> "QuickConfig":
        if self.functions is not None and not self.code:
            raise ValueError("functions are run only if that is asked for: add --code")
        return self


class QuestionsConfig(Section):
    """Questions on texts, from a file in SQuAD's layout."""

    file: Path = Field(description="the questions, .json or .json.gz")
    context: str = Field(description="language of the contexts and answers: de, ar, vi, zh, ...")
    question: str | None = Field(None, description="language of the questions, if another")
    name: str | None = Field(None, description="in the table; default: the file's")
    prompt: str = Field(PROMPT, description="with {context} and {question}")
    shots: int = Field(0, ge=0, description="answered examples before each question")
    examples: Path | None = Field(None, description="where these are taken from")

    @field_validator("prompt")
    @classmethod
    def _has_both(cls, prompt: str) -> str:
        marks = [f"<{name}>" for name in ("context", "question")]
        try:
            filled = prompt.format(context=marks[0], question=marks[1])
        except (IndexError, KeyError, ValueError):
            filled = ""
        if not all(mark in filled for mark in marks):
            raise ValueError("it needs {context} and {question}, and no other braces")
        return prompt


class HarnessConfig(Section):
    """A benchmark of the harness, written ``name`` or with shots."""

    task: str = Field(description="a task, group or tag of the harness, or a task's YAML file")
    shots: int | None = Field(None, ge=0, description="few-shot examples; default: the task's")


class SuiteConfig(Section):
    """All that is measured."""

    limit: int | None = Field(
        None,
        ge=1,
        description="measure at most this many documents, pairs or questions of each task",
    )
    tasks: tuple[str, ...] = Field(
        (),
        description="measure only tasks whose name begins with this, such as target, English,"
        " generation, retrieval or ranking; default: all",
    )
    seed: int = Field(0, ge=0, description="seed of wrong answers, intervals and examples")
    batch: int = Field(8, ge=1, description="questions at once; changes no result")
    quick: QuickConfig = QuickConfig()
    questions: tuple[QuestionsConfig, ...] = Field((), description="questions in files of yours")
    harness: tuple[Annotated[HarnessConfig, BeforeValidator(_as_task)], ...] = Field(
        (), description="benchmarks of the lm-evaluation-harness"
    )


def suite_named(name: str | Path | SuiteConfig, language: str | None = None) -> SuiteConfig:
    """Return a suite.

    Args:
        name: ``quick``, ``paper``, a YAML file, or a suite.
        language: of ``paper``.

    Raises:
        ConfigError: there is no such suite, it cannot be read, has an unknown key, or a value that
            does not fit.
    """
    if isinstance(name, SuiteConfig):
        return name
    name = str(name)
    if name == "quick":
        return SuiteConfig()
    if name == "paper":
        tasks = [task for purpose in paper_tasks(language).values() for task in purpose]
        return SuiteConfig(harness=tuple(HarnessConfig(task=task) for task in tasks))
    if not name.endswith((".yaml", ".yml")):
        raise ConfigError(
            f"there is no suite {name!r}", "--suite takes quick, paper, modern or FILE.yaml"
        )
    return validated(SuiteConfig, read_yaml(Path(name)))


def with_options(suite: SuiteConfig, **options: Any) -> SuiteConfig:
    """Return the suite with what was given as flags; None or empty means not given.

    Args:
        suite: as it was.
        **options: ``limit`` and ``seed``, and fields of `QuickConfig`.
    """
    flags = given(options)
    quick = {key: flags.pop(key) for key in list(flags) if key in QuickConfig.model_fields}
    values = suite.model_dump(exclude_unset=True) | flags
    values["quick"] = values.get("quick", {}) | quick
    return validated(SuiteConfig, values)
