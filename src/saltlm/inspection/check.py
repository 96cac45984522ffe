"""Is a model directory sound? Opened as anybody would open it, with plain transformers."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from saltlm.errors import CheckpointError, SaltlmError, setting
from saltlm.files.json_object import read_json
from saltlm.files.progress import progress
from saltlm.inspection.downstream import handover_findings
from saltlm.inspection.finding import Check, Finding, advice, failure, verdict
from saltlm.models.architecture import read_config
from saltlm.models.checkpoint import largest_in_rows, open_checkpoint
from saltlm.models.config_json import says_tied
from saltlm.models.hub import local_directory
from saltlm.models.skeleton import loader_of
from saltlm.models.token_tables import Tables, read_tables
from saltlm.record.manifest import read_manifest
from saltlm.tokenizer.chat import render_chat
from saltlm.tokenizer.load import check_loadable, open_tokenizer
from saltlm.tokenizer.losses import in_words, losses
from saltlm.tokenizer.probes import PROBES

_SAMPLE_WORDS = 200


def check(directory: str | Path, *, trust_remote_code: bool = False) -> Check:
    """Look whether a model directory is sound: what loads is what is stored.

    Whatever is wrong with it is in the result; nothing is raised.

    Args:
        directory: a causal language model in the Hugging Face layout, made by saltlm or not.
        trust_remote_code: run code that the directory brings along.
    """
    findings, directory = [], Path(directory)
    try:
        for finding in progress(_checks(directory, trust_remote_code), desc="check"):
            findings.append(finding)
    except SaltlmError as error:
        findings.append(Finding("readable", "failed", f"{error.what}; {error.hint}"))
    except Exception as error:  # what transformers raises on a broken directory is not listed
        findings.append(failure("loads in transformers", error))
    return Check(directory, tuple(findings))


def _checks(directory: Path, trust_remote_code: bool) -> Iterator[Finding]:
    if local_directory(directory) is None:
        raise CheckpointError(f"{directory} is not a directory", "saltlm check DIR takes a model's")
    config = read_config(directory, trust_remote_code=trust_remote_code)
    names = _named_tensors(directory)
    tables = read_tables(
        open_checkpoint(directory),
        config,
        side="source",
        embedding=names.get("source_embedding"),
        head=names.get("source_head"),
    )
    yield from _table_findings(tables)
    if not (directory / "tokenizer.json").is_file():
        raise CheckpointError(
            f"{directory} has no tokenizer.json", "save it there with tokenizer.save_pretrained()"
        )

    from transformers import AutoTokenizer

    check_loadable(directory)
    tokenizer = AutoTokenizer.from_pretrained(
        directory, local_files_only=True, trust_remote_code=trust_remote_code
    )
    yield from _tokenizer_findings(directory, tokenizer)
    model, info = loader_of(config).from_pretrained(
        directory,
        local_files_only=True,
        trust_remote_code=trust_remote_code,
        dtype="auto",
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    kinds = ("missing", "unexpected", "mismatched")
    strays = [f"{kind} {key}" for kind in kinds for key in sorted(info[f"{kind}_keys"])]
    yield verdict("every weight in its place", not strays, ", ".join(strays) or "all")
    flags = says_tied(read_json(directory / "config.json")) | {bool(config.tie_word_embeddings)}
    yield from _model_findings(tables, model, flags)
    yield from _id_findings(tokenizer, model, tables)
    yield _forward_finding(tokenizer, model, len(tables.embedding) - tables.surplus)
    yield from handover_findings(directory, tokenizer, model, trust_remote_code=trust_remote_code)


def _named_tensors(directory: Path) -> dict[str, Any]:
    """Return the tensor names that the transfer was given, for a layout of its own."""
    names: dict[str, Any] = _record(directory, "options").get("tensors", {})
    return names


def _record(directory: Path, part: str) -> dict[str, Any]:
    """Return a part of what saltlm wrote of a directory; empty if it did not make it."""
    try:
        found: dict[str, Any] = read_manifest(directory)[part]  # type: ignore[literal-required]
    except (CheckpointError, KeyError):
        return {}
    return found


def _table_findings(tables: Tables) -> Iterator[Finding]:
    """Every row is finite (reading refuses others), and none is zero."""
    for name, table in (("embedding", tables.embedding), ("head", tables.head)):
        if table is None:
            continue
        zero = (largest_in_rows(table) == 0).nonzero().flatten()
        rows, width = table.shape
        seen = f"{rows} x {width} {str(table.dtype).removeprefix('torch.')}"
        detail = (
            f"{seen}, {len(zero)} zero rows, the first is {int(zero[0])}" if len(zero) else seen
        )
        yield verdict(f"{name} rows finite and not zero", not len(zero), detail)


def _tokenizer_findings(directory: Path, tokenizer: Any) -> Iterator[Finding]:
    """What transformers loads is the tokenizer of the file, and text comes back from it."""
    plain = open_tokenizer(directory / "tokenizer.json")
    text = _sample_text(plain)
    ids = plain.encode(text, add_special_tokens=False).ids
    loaded = tokenizer(text, add_special_tokens=False)["input_ids"]
    yield verdict(
        "transformers loads this tokenizer",
        loaded == ids and len(tokenizer) == plain.get_vocab_size(),
        f"{len(tokenizer)} tokens, {tokenizer.__class__.__name__}",
    )
    yield _loss_finding(plain, {"its own words": text, **_rendered_chat(tokenizer)}, directory)


def _loss_finding(tokenizer: Tokenizer, texts: Mapping[str, str], directory: Path) -> Finding:
    """Every kind of text comes back as it was, but for what the source of a transfer lost too."""
    already = _record(directory, "vocabulary").get("source_loses", ())
    found = [loss for loss in losses(tokenizer, {**texts, **PROBES}) if loss.kind not in already]
    detail = in_words(found) if found else f"{len(texts) + len(PROBES)} kinds of text"
    return advice("text comes back from the tokenizer", not found, detail)


def _rendered_chat(tokenizer: Any) -> dict[str, str]:
    """Return a chat as the template writes it, by the name of its kind; nothing without one."""
    if tokenizer.chat_template is None:
        return {}
    turns = [{"role": "user", "content": "How are you?\n\n- well\n- not well"}]
    try:
        return {"the chat template": render_chat(tokenizer, turns, is_open=False)}
    except Exception:  # what is wrong with a template is told by the handover findings
        return {}


def _sample_text(tokenizer: Any) -> str:
    """Return a text in the tokenizer's own words, spread over the vocabulary."""
    size = tokenizer.get_vocab_size()
    step = max(1, size // (4 * _SAMPLE_WORDS))
    words = (tokenizer.decode([id]).strip() for id in range(0, size, step))
    return " ".join([word for word in words if word.isalpha()][:_SAMPLE_WORDS]) or "text"


def _model_findings(tables: Tables, model: Any, flags: set[bool]) -> Iterator[Finding]:
    """The loaded model holds the file's tables, tied as in the file and as the settings say."""
    embedding = model.get_input_embeddings()
    head = model.get_output_embeddings()
    pairs: list[tuple[str, Tensor, Tensor]] = [("embedding", embedding.weight, tables.embedding)]
    if head is not None:
        stored = tables.embedding if tables.head is None else tables.head
        pairs.append(("head", head.weight, stored))
    for name, loaded, stored in pairs:
        is_same = torch.equal(loaded.detach(), stored.to(loaded.dtype))
        yield verdict(f"loaded {name} equals the file", is_same, " x ".join(map(str, loaded.shape)))
    is_tied = tables.is_tied if head is None else head.weight is embedding.weight
    said = "tied" if is_tied else "untied"
    if flags != {tables.is_tied}:
        said = (
            f"{'one table' if tables.is_tied else 'two tables'} in the file, but config.json says"
            f" tie_word_embeddings {' and '.join(map(setting, sorted(flags)))}"
        )
    yield verdict("tied as in the file", {is_tied} == flags == {tables.is_tied}, said)
    padding = getattr(embedding, "padding_idx", None)
    is_inside = padding is None or 0 <= padding < len(tables.embedding)
    yield verdict("padding_idx inside the table", is_inside, setting(padding))


def _id_findings(tokenizer: Any, model: Any, tables: Tables) -> Iterator[Finding]:
    """Every special token id exists, and the places that name one agree."""
    size, rows = model.config.get_text_config().vocab_size, len(tables.embedding)
    is_right = size == rows - tables.surplus
    yield verdict("vocab_size is the number of rows", is_right, f"{size} and {rows}")
    yield verdict(
        "every token has a row", len(tokenizer) <= rows, f"{len(tokenizer)} tokens, {rows} rows"
    )
    for place, owner in (
        ("config", model.config.get_text_config()),
        ("generation_config", model.generation_config),
    ):
        ids = _special_ids(owner.to_dict())
        outside = {name: id for name, id in ids if not 0 <= id < len(tokenizer)}
        listed = ", ".join(f"{name} {id}" for name, id in (outside.items() or ids)) or "none"
        yield verdict(f"special token ids of {place}", not outside, listed)
    yield _agreement(tokenizer, model)


def _agreement(tokenizer: Any, model: Any) -> Finding:
    """Tokenizer, config.json and generation_config.json name the same bos, eos and pad.

    One that names none, or several with the right one among them, contradicts nobody.
    """
    places = {
        "config.json": model.config.get_text_config(),
        "generation_config.json": model.generation_config,
    }
    wrong = []
    for role in ("bos", "eos", "pad"):
        own = getattr(tokenizer, f"{role}_token_id")
        for place, owner in places.items():
            stated = getattr(owner, f"{role}_token_id", None)
            listed = stated if isinstance(stated, list) else [stated]
            if own is not None and stated is not None and own not in listed:
                wrong.append(
                    f"{role} is {own} in the tokenizer but {stated} in {place}: set"
                    f' "{role}_token_id": {own} there, or {role}_token in tokenizer_config.json'
                )
    return verdict("special token ids agree", not wrong, "; ".join(wrong) or "bos, eos and pad")


def _special_ids(values: dict[str, Any]) -> list[tuple[str, int]]:
    return [
        (name.removesuffix("_token_id"), id)
        for name, value in values.items()
        if name.endswith("_token_id")
        for id in (value if isinstance(value, list) else [value])
        if isinstance(id, int)
    ]


def _forward_finding(tokenizer: Any, model: Any, rows: int) -> Finding:
    """One forward pass gives a finite logit for every row."""
    batch = tokenizer(_sample_text(tokenizer.backend_tokenizer), return_tensors="pt")
    try:
        with torch.inference_mode():
            logits = model.eval()(input_ids=batch["input_ids"][:, :64]).logits
    except Exception as error:  # nor is what a class raises that cannot do with its settings
        return failure("forward pass", error)
    is_good = bool(logits.isfinite().all()) and logits.shape[-1] == rows
    return verdict("forward pass", is_good, f"logits {' x '.join(map(str, logits.shape))}")
