"""Chat: does the template work, are instructions followed, and what do given answers cost?"""

from collections.abc import Sequence

from saltlm.errors import CheckpointError
from saltlm.evaluation.bits_per_byte import bits_per_byte
from saltlm.evaluation.instructions import Instruction
from saltlm.evaluation.results import Metric, hash_of, ratio
from saltlm.evaluation.task import ENGINE, Measured, Subject, Task, Work
from saltlm.evaluation.written import write_after
from saltlm.files.parallel import SentencePair
from saltlm.tokenizer.chat import render_chat

LONGEST_ANSWER = 64  # tokens


def instructions_task(language: str, probes: Sequence[Instruction], seed: int) -> Task:
    """Return the task: instructions, put into the chat template, are followed by rule.

    Args:
        language: that they are in.
        probes: the instructions.
        seed: of the bootstrap.
    """

    def measure(subject: Subject) -> Measured:
        model, tokenizer = subject.model, subject.tokenizer
        _check_template(subject)
        prompts = [rendered(subject, probe.ask) for probe in probes]
        answers = [
            write_after(model, tokenizer, prompt, most=LONGEST_ANSWER, is_chat=True)
            for prompt in prompts
        ]
        followed = [
            float(probe.is_followed(answer.text))
            for probe, answer in zip(probes, answers, strict=True)
        ]
        metrics: dict[str, Metric] = {
            "instructions followed": ratio(followed, better="higher", seed=seed),
            "answers that end": ratio(
                [float(answer.is_ended) for answer in answers], better="higher", seed=seed
            ),
        }
        shown = [
            {"prompt": prompt, "answer": answer.text, "followed": bool(one)}
            for prompt, answer, one in zip(prompts, answers, followed, strict=True)
        ]
        return Measured(metrics, {"answers": shown})

    data = hash_of([probe.model_dump(mode="json") for probe in probes])
    settings = {"most tokens": LONGEST_ANSWER}
    work = Work([probe.ask for probe in probes], n_written=LONGEST_ANSWER * len(probes))
    return Task(f"chat, {language}", "1", ENGINE, settings, data, seed, measure, work)


def answers_task(pairs: Sequence[SentencePair], seed: int) -> Task:
    """Return the task: bits per byte of answers alone, after their questions.

    The questions are put into the chat template if the model has one; else they stand on a line of
    their own before the answer.
    """

    def measure(subject: Subject) -> Measured:
        has_template = bool(subject.tokenizer.chat_template)
        prompts = [
            rendered(subject, pair.english) if has_template else f"{pair.english}\n"
            for pair in pairs
        ]
        answers = [pair.target for pair in pairs]
        found = bits_per_byte(subject.model, subject.tokenizer, answers, prompts=prompts)
        metric = ratio(found.bits, found.n_bytes, better="lower", seed=seed)
        return Measured({"bits per byte": metric}, {"chat template": has_template})

    data, work = hash_of([list(pair) for pair in pairs]), Work([" ".join(pair) for pair in pairs])
    return Task("answers", "1", ENGINE, {}, data, seed, measure, work)


def rendered(subject: Subject, question: str) -> str:
    """Return a question as the chat template has it, up to where the answer begins."""
    turns = [{"role": "user", "content": question}]
    return render_chat(subject.tokenizer, turns, is_open=True)


def _check_template(subject: Subject) -> None:
    if not subject.tokenizer.chat_template:
        raise CheckpointError(
            "the model has no chat template", "leave out --chat, or measure an instruct model"
        )
