"""A smoke test of generation: does a model go on with a text, and how fast?"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from saltlm.evaluation.written import text_ends
from saltlm.files.progress import progress
from saltlm.models.logits import document_start
from saltlm.tokenizer.fertility import encode_documents

N_NEW = 32
_LONGEST_PROMPT = 200  # characters
_REPEATED = 3  # tokens of which too many are the same make a loop


@dataclass(frozen=True)
class Continuation:
    """What a model wrote after a prompt.

    Attributes:
        prompt: a text's beginning.
        output: what came before the model ended the text, at most `N_NEW` tokens.
        problem: what is wrong with it; empty if nothing is.
        n_tokens: tokens made, those after the end of the text included.
        seconds: that it took, the reading of the prompt included.
    """

    prompt: str
    output: str
    problem: str
    n_tokens: int
    seconds: float


@dataclass(frozen=True)
class Generated:
    """What a model wrote after some prompts.

    Attributes:
        outputs: one for each prompt.
        processor_share: processor time over elapsed time. Well below 1, the process had to wait for
            others, and the seconds say more about these than about the model.
    """

    outputs: tuple[Continuation, ...]
    processor_share: float


def prompt_of(document: str) -> str:
    """Return the first half of a document, at most 200 characters, cut between words."""
    half = document[: min(_LONGEST_PROMPT, max(1, len(document) // 2))]
    return half.rsplit(None, 1)[0] if len(half.split()) > 1 else half


def generate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]
) -> Generated:
    """Return what a model writes, greedily and one prompt at a time, as a reader waits for it.

    Every prompt gets `N_NEW` tokens, so that models that end a text early take no less time; what
    stands after the end that the model wanted is not looked at.
    """
    return generate_in_turns([(model, tokenizer)], prompts)[0]


def generate_in_turns(
    models: Sequence[tuple[PreTrainedModel, PreTrainedTokenizerBase]], prompts: Sequence[str]
) -> list[Generated]:
    """Return what several models write after the same prompts, as `generate` does.

    Each prompt goes to all of them before the next one does, and another model begins every time,
    so that whatever slows the machine down slows all of them.
    """
    everyone = [(*model, _settings(*model)) for model in models]
    for model, tokenizer, settings in everyone:  # the first call of all is slower
        _generate(model, tokenizer, prompts[0], settings)
    made: list[list[Continuation]] = [[] for _ in everyone]
    elapsed, used = time.perf_counter(), time.process_time()
    for turn, prompt in enumerate(progress(prompts, desc="generation")):
        for step in range(len(everyone)):
            place = (turn + step) % len(everyone)
            made[place].append(_continue(*everyone[place], prompt))
    elapsed, used = time.perf_counter() - elapsed, time.process_time() - used
    return [Generated(tuple(outputs), used / elapsed) for outputs in made]


def _settings(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> GenerationConfig:
    return GenerationConfig(
        do_sample=False,
        min_new_tokens=N_NEW,
        max_new_tokens=N_NEW,
        eos_token_id=sorted(text_ends(model, tokenizer)) or None,
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0,
        output_logits=True,
        return_dict_in_generate=True,
    )


def _continue(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    settings: GenerationConfig,
    prompt: str,
) -> Continuation:
    ends = text_ends(model, tokenizer)
    began = time.perf_counter()
    ids, wanted = _generate(model, tokenizer, prompt, settings)
    seconds = time.perf_counter() - began
    end = next((place for place, id in enumerate(wanted) if id in ends), len(ids))
    text = tokenizer.decode(ids[:end], skip_special_tokens=True)
    return Continuation(
        prompt, text, problem_of(ids[:end], text, len(tokenizer)), len(ids), seconds
    )


@torch.no_grad()
def _generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    settings: GenerationConfig,
) -> tuple[list[int], list[int]]:
    """Return the new tokens, and those that the model would have taken had it been free to end."""
    start = document_start(model, tokenizer)
    ids = torch.tensor([[start, *encode_documents(tokenizer, [prompt])[0]]], device=model.device)
    made: Any = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings
    )
    new = made.sequences[0, ids.shape[1] :].tolist()
    return new, [int(logits[0].argmax()) for logits in made.logits]


def problem_of(ids: Sequence[int], text: str, n_tokens: int) -> str:
    """Return what is wrong with an output, or nothing.

    Args:
        ids: the tokens.
        text: that they stand for.
        n_tokens: that the tokenizer has.
    """
    if not text.strip():
        return "empty"
    if any(id >= n_tokens for id in ids):
        return "ids without a token"
    if "\ufffd" in text.rstrip("\ufffd"):  # the last character may be cut
        return "broken characters"
    runs = [tuple(ids[i : i + _REPEATED]) for i in range(len(ids) - _REPEATED + 1)]
    if len(runs) > _REPEATED and len(set(runs)) < len(runs) / 2:
        return "repeats itself"
    return ""
