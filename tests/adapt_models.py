"""What the tests of ``saltlm adapt`` share: a tiny model directory and a tiny text."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from conftest import CORPUS, train_bytelevel
from saltlm.adaptation.config import AdaptConfig
from saltlm.adaptation.mixture import Batch
from saltlm.record.manifest import write_manifest

TOKENIZER = train_bytelevel()
N_TOKENS = 900
N_ROWS = 912  # more than the tokenizer has, as real embeddings do
N_SHARED = 500


def batch_of(ids: torch.Tensor, positions: torch.Tensor, begins: int = 0, source: int = 0) -> Batch:
    """Return sequences of one text of a run."""
    zeros = torch.zeros(len(ids), dtype=torch.long)
    return Batch(ids, positions, sources=zeros + source, begins=zeros + begins)


def save_model(
    directory: Path,
    *,
    is_tied: bool = True,
    has_record: bool = True,
    dtype: torch.dtype = torch.float32,
    **options: Any,
) -> Path:
    """Write a tiny Llama as ``saltlm transfer`` would: ids from 500 on have new rows."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64}
    config = LlamaConfig(
        tie_word_embeddings=is_tied,
        bos_token_id=0,
        eos_token_id=0,
        **{"vocab_size": N_ROWS, **sizes, **heads, **options},
    )
    LlamaForCausalLM(config).to(dtype).save_pretrained(directory)
    TOKENIZER.save(str(directory / "tokenizer.json"))
    roles = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **roles}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    if has_record:
        record = directory / "saltlm"
        record.mkdir()
        origin = torch.zeros(N_TOKENS, dtype=torch.uint8)
        origin[0], origin[N_SHARED:] = 3, 1
        save_file({"origin": origin}, record / "provenance.safetensors")
        write_manifest(directory, {"kind": "adapted", "source": {"name": "tiny"}})
    return directory


def save_text(file: Path) -> Path:
    """Write the corpus, one document a line."""
    lines = [line.replace("\n", " ") for line in CORPUS]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def tiny_config(folder: Path, **options: Any) -> AdaptConfig:
    """Return options for 4 steps of 8 sequences of 8 tokens of ``folder/text.txt``."""
    defaults = {
        "data": {str(folder / "text.txt"): None},
        "cache": folder / "cache",
        "steps": 4,
        "stages": ["full"],
        "sequence_length": 8,
        "batch_tokens": 64,
        "micro_batch": 4,
        "loss_chunk": 10 * N_ROWS,
        "warmup": 0.02,
        "decay": 0.2,
        "dtype": "float32",  # on every machine
        "save_every": 2,
        "eval_every": 2,
        "samples": 0,
        "lr": {"new": 1e-2, "shared": 3e-3, "body": 3e-3},
    }
    return AdaptConfig.model_validate({**defaults, **options})


def read_model(directory: Path) -> dict[str, bytes]:
    """Return the bytes of the files of a model directory, without the run's own folder."""
    return {file.name: file.read_bytes() for file in directory.iterdir() if file.is_file()}
