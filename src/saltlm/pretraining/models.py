"""A model with random weights, of standard classes: Llama's as gpt, BERT's, and T5's."""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

from saltlm.pretraining.config import Arch
from saltlm.pretraining.sizes import Size

_FEWEST_POSITIONS = 512
_T5_ROWS = 0.05  # their spread; transformers' 1.0 would still be noise after a short training


def new_model(
    arch: Arch, size: Size, n_tokens: int, roles: Mapping[str, int], length: int, seed: int
) -> PreTrainedModel:
    """Return a model whose head is its embedding, without dropout.

    Args:
        arch: of the model.
        size: of the model.
        n_tokens: of its tokenizer.
        roles: role -> id of its special tokens.
        length: of the sequences that it is trained on.
        seed: of its weights.
    """
    torch.manual_seed(seed)
    special = {f"{role}_token_id": roles[role] for role in ("pad", "bos", "eos") if role in roles}
    make = {"gpt": _gpt, "bert": _bert, "t5": _t5}[arch]
    model = make(size, max(length, _FEWEST_POSITIONS), vocab_size=n_tokens, **special)
    return model.eval()


def _gpt(size: Size, positions: int, **settings: Any) -> PreTrainedModel:
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=size.width,
            intermediate_size=size.width * 8 // 3,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            max_position_embeddings=positions,
            tie_word_embeddings=True,
            **settings,
        )
    )


def _bert(size: Size, positions: int, **settings: Any) -> PreTrainedModel:
    return BertForMaskedLM(
        BertConfig(
            hidden_size=size.width,
            intermediate_size=4 * size.width,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            max_position_embeddings=positions,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            **settings,
        )
    )


def _t5(size: Size, positions: int, **settings: Any) -> PreTrainedModel:
    model = T5ForConditionalGeneration(
        T5Config(
            d_model=size.width,
            d_kv=size.width // size.heads,
            d_ff=4 * size.width,
            num_layers=size.layers // 2,
            num_heads=size.heads,
            n_positions=positions,
            dropout_rate=0.0,
            decoder_start_token_id=settings["pad_token_id"],
            **settings,
        )
    )
    torch.nn.init.normal_(model.shared.weight, std=_T5_ROWS)
    return model
