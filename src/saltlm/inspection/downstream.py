"""What tools that take a model further trip over: settings, chat, generating, saving it again."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoTokenizer

from saltlm.errors import SaltlmError, VocabularyError, setting
from saltlm.files.json_object import read_json
from saltlm.files.leftovers import temporary
from saltlm.inspection.finding import Finding, advice, failure, verdict
from saltlm.models.architecture import read_config
from saltlm.models.checkpoint import Checkpoint, open_checkpoint
from saltlm.models.older_keys import missing_older_keys
from saltlm.models.skeleton import in_order_of_rows
from saltlm.tokenizer.chat import render_chat
from saltlm.tokenizer.llama_cpp import llama_cpp_vocabulary
from saltlm.tokenizer.load import open_tokenizer

_MARKER = re.compile(r"<[|｜][^|｜\s]+[|｜]>|<(?:start|end)_of_\w+>|</?s>")  # noqa: RUF001
_SEEN = 80  # characters of a rendered chat
_N_NEW = 16  # tokens that are generated
_LEAST_KINDS = 5  # of them are different in text; a few words over and over have fewer
_QUESTION = "How are you?"


def handover_findings(
    directory: Path, tokenizer: Any, model: Any, *, trust_remote_code: bool = False
) -> Iterator[Finding]:
    """Yield what was found in a model that loads.

    Saving it again takes the weights' size on the disk of temporary files for a moment; without
    that much room it is left out, with a warning.

    Args:
        directory: where the model was loaded from.
        tokenizer: as transformers loads it.
        model: likewise.
        trust_remote_code: run code that the directory brings along.
    """
    yield _class_finding(directory, tokenizer)
    yield _older_reader_finding(directory)
    yield from _setting_findings(tokenizer, model)
    if tokenizer.chat_template is not None:
        yield from _chat_findings(tokenizer)
    yield from _generation_findings(tokenizer, model)
    yield _llama_cpp_finding(directory)
    checkpoint = open_checkpoint(directory)
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < 1.1 * checkpoint.nbytes:
        room = f"not tried: {checkpoint.nbytes / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free"
        yield advice("saved again", False, f"{room} in {tempfile.gettempdir()}")
        return
    with temporary() as again:
        # Some versions refuse to save settings that others warn of, as the finding above says.
        model.generation_config = transformers.GenerationConfig()
        model.save_pretrained(again)
        yield from _weight_findings(checkpoint, open_checkpoint(again), model)
        is_tied, still = (
            read_config(path, trust_remote_code=trust_remote_code).tie_word_embeddings
            for path in (directory, again)
        )
        detail = f"tie_word_embeddings {setting(is_tied)}, saved again {setting(still)}"
        yield verdict("tied flag saved again", is_tied == still, detail)
        tokenizer.save_pretrained(again)
        reloaded = AutoTokenizer.from_pretrained(
            again, local_files_only=True, trust_remote_code=trust_remote_code
        )
        yield _tokenizer_finding(tokenizer, reloaded)


def _older_reader_finding(directory: Path) -> Finding:
    """Clients that follow transformers 4 take another rotary base where its key is missing."""
    missing = missing_older_keys(read_json(directory / "config.json"))
    detail = "every setting that has two names is there under both"
    if missing:
        detail = (
            f"no {', '.join(missing)}: transformers 4, mlx-lm and CTranslate2 read rotary positions"
            " wrong, without a word"
        )
    return advice("config.json for older readers", not missing, detail)


def _llama_cpp_finding(directory: Path) -> Finding:
    """llama.cpp has no tokenizer.json, but tokenizers of its own; what each does, was measured."""
    tokenizer = open_tokenizer(directory / "tokenizer.json")
    try:
        vocabulary = llama_cpp_vocabulary(tokenizer, tokenizer.get_vocab_size())
    except VocabularyError as error:
        return advice("vocabulary in llama.cpp", False, error.what)
    name = f"{vocabulary.model}, {vocabulary.pre}"
    if vocabulary.model == "bert":
        detail = f"{name}: it puts bos before every text and token 102 after it"
        return advice("vocabulary in llama.cpp", False, detail)
    if vocabulary.character_map:
        detail = f"{name}: it keeps marks on letters (decomposed text) that tokenizer.json drops"
        return advice("vocabulary in llama.cpp", False, detail)
    return advice("vocabulary in llama.cpp", True, name)


def _class_finding(directory: Path, tokenizer: Any) -> Finding:
    """Clients other than transformers take the class from this one file."""
    settings = read_json(directory / "tokenizer_config.json")
    name = settings.get("tokenizer_class")
    detail = f"{name}, loaded as {type(tokenizer).__name__}"
    is_known = hasattr(transformers, str(name)) or "auto_map" in settings
    if name is None:
        detail = "tokenizer_config.json names none, so clients guess it from model_type"
    elif not is_known:
        detail = f"transformers has no {name}"
    return advice("tokenizer_class", name is not None and is_known, detail)


def _setting_findings(tokenizer: Any, model: Any) -> Iterator[Finding]:
    """What fine-tuning reads: the generation settings, and the row that no gradient reaches."""
    try:
        model.generation_config.validate(strict=True)
        reason = ""
    except ValueError as error:
        reason = " ".join(str(error).split())
    yield advice("generation_config is consistent", not reason, reason or "no flag contradicts")
    padding = getattr(model.get_input_embeddings(), "padding_idx", None)
    pad = tokenizer.pad_token_id
    is_same = padding is None or pad is None or padding == pad
    yield advice(
        "padding_idx is the pad token",
        is_same,
        f"padding_idx {setting(padding)}, pad token {setting(pad)}",
    )


def _chat_findings(tokenizer: Any) -> Iterator[Finding]:
    """The template renders, and each of its markers is one token."""
    try:
        turns = [{"role": "user", "content": _QUESTION}]
        text = render_chat(tokenizer, turns, is_open=True)
    except Exception as error:  # of several templates, none may be the default
        reason = error.what if isinstance(error, SaltlmError) else str(error).partition("\n")[0]
        yield verdict("chat template renders", False, reason)
        return
    end = text if len(text) <= _SEEN else f"... {text[-_SEEN:]}"
    yield verdict("chat template renders", _QUESTION in text, repr(end))
    markers = dict.fromkeys(_MARKER.findall(text))
    lengths = {m: len(tokenizer(m, add_special_tokens=False)["input_ids"]) for m in markers}
    split = [f"{marker} is {length} tokens" for marker, length in lengths.items() if length != 1]
    seen = ", ".join(split or markers) or "no markers"
    yield advice("each chat marker is one token", not split, seen)


def _generation_findings(tokenizer: Any, model: Any) -> Iterator[Finding]:
    """A few tokens, greedily; each of them is one of the tokenizer's, and they are not all alike.

    A model that was only transferred repeats itself: that is no fault, but no text either.
    """
    batch = tokenizer(_QUESTION, return_tensors="pt", return_token_type_ids=False)
    try:
        with torch.inference_mode():
            ids = model.eval().generate(**batch, max_new_tokens=_N_NEW, do_sample=False)[0].tolist()
    except Exception as error:  # each class has its own way to keep what it has read
        yield failure("generates", error)
        return
    new = ids[batch["input_ids"].shape[1] :]
    beyond = [id for id in new if id >= len(tokenizer)]
    detail = f"ids without a token: {beyond}" if beyond else repr(tokenizer.decode(new))
    is_empty = not beyond and not tokenizer.decode(new, skip_special_tokens=True).strip()
    is_chat = bool(getattr(tokenizer, "chat_template", None))
    if is_empty and is_chat:
        detail += ": it ends at once when it is asked without the chat template"
    yield verdict("generates", bool(new) and not beyond, detail)
    if is_empty and not is_chat:
        yield advice("writes text", False, "it ends at once: saltlm adapt trains it")
    elif len(new) == _N_NEW and len(set(new)) < _LEAST_KINDS:
        yield advice("writes text", False, "it repeats itself: saltlm adapt trains it")


def _weight_findings(old: Checkpoint, new: Checkpoint, model: Any) -> Iterator[Finding]:
    """Saving what was loaded gives the same tensors, to the bit."""
    both = sorted(old.tensors.keys() & new.tensors.keys())
    alike = [name for name in both if old.tensors[name].dtype == new.tensors[name].dtype]
    changed = [name for name in alike if not old.has_bytes_of(new, name)]
    parts = in_order_of_rows(model, changed) if changed else ()
    is_cut_elsewhere = bool(parts) and old.sha256(*parts) == new.sha256(*parts)
    if is_cut_elsewhere:  # one table in two tensors, as Molmo 2's embedding
        changed = []
    detail = ", ".join(changed[:3]) or f"{len(alike)} of {len(old.tensors)} tensors compared"
    yield verdict("weights saved again are the same bytes", not changed, detail)
    other = [f"{name} lost" for name in sorted(old.tensors.keys() - new.tensors.keys())]
    other += [f"{name} added" for name in sorted(new.tensors.keys() - old.tensors.keys())]
    other += [f"{name} in another dtype" for name in both if name not in alike]
    other += [f"{name} of another size" for name in parts if is_cut_elsewhere]
    detail = ", ".join(other[:3]) or "all"
    yield advice("weights saved again have their names and dtypes", not other, detail)


def _tokenizer_finding(tokenizer: Any, again: Any) -> Finding:
    """What transformers writes of the tokenizer is the same one."""
    texts = [tokenizer.decode([id]) for id in range(0, len(tokenizer), len(tokenizer) // 500 + 1)]
    differing = [
        name
        for name, is_same in {
            "ids of text": tokenizer(texts)["input_ids"] == again(texts)["input_ids"],
            "vocabulary": tokenizer.get_vocab() == again.get_vocab(),
            "special tokens": tokenizer.special_tokens_map == again.special_tokens_map,
            "chat template": tokenizer.chat_template == again.chat_template,
        }.items()
        if not is_same
    ]
    detail = f"other {', '.join(differing)}" if differing else f"{len(texts)} texts, vocabulary"
    return verdict("tokenizer saved again is the same", not differing, detail)
