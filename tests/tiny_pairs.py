"""A small pair of models on disk, as a user has them: a byte-level Llama and a WordPiece BERT."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from saltlm.config.transfer import SpecialTokensConfig
from saltlm.inspection.check import check
from saltlm.inspection.finding import Finding
from saltlm.tokenizer.budget import BudgetVocabulary, as_vocabulary
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.extend import Extension, extend_tokenizer
from saltlm.tokenizer.special_tokens import special_tokens_of
from saltlm.tokenizer.vocabulary import read_vocabulary
from saltlm.vocabulary_transfer.transfer import transfer
from tiny_models import LAYOUTS, PLMS, SOURCES

TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}"
PADDING = 24  # rows of the source beyond its tokenizer


def write_side(
    directory: Path, model: PreTrainedModel, tokenizer: Tokenizer, **settings: object
) -> Path:
    """Save a model with its tokenizer; the settings go into ``tokenizer_config.json``."""
    model.save_pretrained(directory)
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **settings}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return directory


def write_pair(
    directory: Path, tokenizers: Mapping[str, Tokenizer], source: str = "SmolLM2", **settings: Any
) -> tuple[Path, Path]:
    """Write a source that chats and has unused rows, and a PLM; return their directories.

    Args:
        directory: where ``source`` and ``plm`` will be.
        tokenizers: one of each family.
        source: its architecture, as `tiny_models` names it; SmolLM2 is tied, Llama is not.
        **settings: more of its configuration.
    """
    torch.manual_seed(7)
    left, right = tokenizers["bytelevel"], tokenizers["wordpiece"]
    start, end, text_end = (
        left.token_to_id(token) for token in ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
    )
    ids = {"bos_token_id": start, "eos_token_id": end, "pad_token_id": None, **settings}
    model = (SOURCES | LAYOUTS)[source](left.get_vocab_size() + PADDING, **ids)
    model.generation_config.eos_token_id = [end, text_end]
    write_side(
        directory / "source",
        model,
        left,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        chat_template=TEMPLATE,
    )
    plm = PLMS["BERT"](right.get_vocab_size(), pad_token_id=right.token_to_id("[PAD]"))
    write_side(
        directory / "plm",
        plm,
        right,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        mask_token="[MASK]",
    )
    for name, licence in (("source", "apache-2.0"), ("plm", "mit")):
        (directory / name / "README.md").write_text(f"---\nlicense: {licence}\n---\n# A parent\n")
    return directory / "source", directory / "plm"


def make_model(directory: Path, tokenizers: Mapping[str, Tokenizer], **settings: Any) -> Path:
    """Write a pair and the model that a transfer makes of it; return the model's directory."""
    source, plm = write_pair(directory, tokenizers, **settings)
    transfer(source, plm, directory / "out")
    return directory / "out"


def faults(directory: Path) -> list[Finding]:
    """Return what `check` finds amiss in a random model.

    That llama.cpp has no such tokenizer is no fault, nor that it repeats itself.
    """
    found = [finding for finding in check(directory) if finding.outcome != "ok"]
    usual = ("vocabulary in llama.cpp", "writes text")
    return [finding for finding in found if finding.check not in usual]


def contents(directory: Path) -> dict[str, bytes]:
    """Return every file below a directory by its relative path; directories hold nothing."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else b""
        for path in sorted(directory.rglob("*"))
    }


def extended_by(found: BudgetVocabulary, source: Definition, sample: list[str]) -> Extension:
    """Extend a tokenizer by the tokens that a budget chose for it."""
    special = special_tokens_of(source.tokenizer)
    return extend_tokenizer(
        source,
        special,
        read_vocabulary(source, special=special.tokens),
        as_vocabulary(found, source),
        SpecialTokensConfig(),
        sample,
        is_ranked=True,
    )
