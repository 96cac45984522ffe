"""Tiny random models of many architectures, with the layouts of real ones.

Each entry makes a model of a given number of rows; keyword arguments go into its configuration.
"""

from collections.abc import Callable
from typing import Any

import torch
import transformers as hf

HIDDEN = 16
SMALL: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
}
GROUPED = SMALL | {"num_key_value_heads": 1, "head_dim": 8}
SEQ2SEQ = {"d_model": HIDDEN, "encoder_layers": 1, "decoder_layers": 1}
SEQ2SEQ |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 24}
SEQ2SEQ |= {"decoder_ffn_dim": 24, "max_position_embeddings": 64}
T5 = {"d_model": HIDDEN, "d_kv": 8, "num_layers": 1, "num_heads": 2, "d_ff": 24}
VISION = {"hidden_size": HIDDEN, "num_hidden_layers": 1, "num_attention_heads": 2}
VISION |= {"intermediate_size": 24, "image_size": 28, "patch_size": 14}

Maker = Callable[..., hf.PreTrainedModel]


def maker(model: str, config: str, **settings: Any) -> Maker:
    """A function of the number of rows and more settings, by the names of the two classes."""

    def make(rows: int, **more: Any) -> hf.PreTrainedModel:
        made = getattr(hf, config)(vocab_size=rows, **settings | more)
        return _distinct(getattr(hf, model)(made))

    return make


def gemma3_with_vision(rows: int, *, image_token_id: int, **ids: Any) -> hf.PreTrainedModel:
    """A tied language model as a part of a multimodal one."""
    config = hf.Gemma3Config(
        text_config=hf.Gemma3TextConfig(vocab_size=rows, sliding_window=8, **GROUPED | ids),
        vision_config=hf.SiglipVisionConfig(**VISION),
        mm_tokens_per_image=4,
        **{f"{kind}_token_index": image_token_id for kind in ("image", "boi", "eoi")},
    )
    return _distinct(hf.Gemma3ForConditionalGeneration(config))


def llava(rows: int, *, image_token_id: int, **ids: Any) -> hf.PreTrainedModel:
    """Another one, whose text model is not tied."""
    config = hf.LlavaConfig(
        text_config=hf.LlamaConfig(vocab_size=rows, **SMALL | ids),
        vision_config=hf.CLIPVisionConfig(**VISION, projection_dim=HIDDEN),
        image_token_index=image_token_id,
    )
    return _distinct(hf.LlavaForConditionalGeneration(config))


MULTIMODAL = (gemma3_with_vision, llava)


def _distinct(model: hf.PreTrainedModel) -> hf.PreTrainedModel:
    """Give every number of the tables a value of its own: fresh biases and pad rows are zero."""
    for table in (model.get_input_embeddings(), model.get_output_embeddings()):
        if table is not None:
            torch.nn.init.normal_(table.weight)
            if getattr(table, "bias", None) is not None:
                torch.nn.init.normal_(table.bias)
    for parameter in model.parameters():  # a fresh gate may be zero, and hide what is behind it
        if parameter.numel() > 1 and (parameter == parameter.flatten()[0]).all():
            with torch.no_grad():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


MODERN = SMALL | {"cls_token_id": 1, "sep_token_id": 2}
DISTIL = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 24}
XGLM = {
    "d_model": 16,
    "max_position_embeddings": 64,
    "num_layers": 2,
    "attention_heads": 2,
    "ffn_dim": 24,
}
MOE = {"num_experts_per_tok": 1, "moe_intermediate_size": 12, "num_local_experts": 2}

SOURCES: dict[str, Maker] = {
    "Llama": maker("LlamaForCausalLM", "LlamaConfig", **SMALL),
    "SmolLM2": maker("LlamaForCausalLM", "LlamaConfig", **GROUPED, tie_word_embeddings=True),
    "Gemma 2": maker("Gemma2ForCausalLM", "Gemma2Config", **GROUPED, sliding_window=8),
    "Gemma 3": maker("Gemma3ForCausalLM", "Gemma3TextConfig", **GROUPED, sliding_window=8),
    "Gemma 3 with vision": gemma3_with_vision,
    "LLaVA": llava,
    "Qwen2": maker("Qwen2ForCausalLM", "Qwen2Config", **SMALL, num_key_value_heads=1),
    "Qwen3": maker("Qwen3ForCausalLM", "Qwen3Config", **GROUPED, tie_word_embeddings=True),
    "Qwen2-MoE": maker(
        "Qwen2MoeForCausalLM",
        "Qwen2MoeConfig",
        **SMALL,
        **MOE,
        num_key_value_heads=2,
        num_experts=2,
        shared_expert_intermediate_size=12,
    ),
    "Mistral": maker("MistralForCausalLM", "MistralConfig", **SMALL, num_key_value_heads=1),
    "Mixtral": maker("MixtralForCausalLM", "MixtralConfig", **SMALL, **MOE, num_key_value_heads=1),
    "GPT-2": maker("GPT2LMHeadModel", "GPT2Config", **SMALL),
    "GPT-J": maker("GPTJForCausalLM", "GPTJConfig", **SMALL, rotary_dim=4),
    "GPT-NeoX": maker("GPTNeoXForCausalLM", "GPTNeoXConfig", **SMALL),
    "OPT": maker("OPTForCausalLM", "OPTConfig", **SMALL, ffn_dim=24, word_embed_proj_dim=8),
    "XGLM": maker("XGLMForCausalLM", "XGLMConfig", **XGLM),
    "BLOOM": maker("BloomForCausalLM", "BloomConfig", hidden_size=16, n_layer=2, n_head=2),
    "Falcon": maker("FalconForCausalLM", "FalconConfig", **SMALL),
    "Phi": maker("PhiForCausalLM", "PhiConfig", **SMALL),
    "OLMo2": maker("Olmo2ForCausalLM", "Olmo2Config", **SMALL),
    "Cohere": maker("CohereForCausalLM", "CohereConfig", **SMALL),
}

PLMS: dict[str, Maker] = {
    "BERT": maker("BertModel", "BertConfig", **SMALL),
    "BERT with head": maker("BertForMaskedLM", "BertConfig", **SMALL),
    "RoBERTa": maker("RobertaModel", "RobertaConfig", **SMALL),
    "RoBERTa with head": maker("RobertaForMaskedLM", "RobertaConfig", **SMALL),
    "XLM-R": maker("XLMRobertaModel", "XLMRobertaConfig", **SMALL),
    "XLM-R with head": maker("XLMRobertaForMaskedLM", "XLMRobertaConfig", **SMALL),
    "DistilBERT": maker("DistilBertModel", "DistilBertConfig", **DISTIL),
    "DistilBERT with head": maker("DistilBertForMaskedLM", "DistilBertConfig", **DISTIL),
    "ALBERT": maker("AlbertModel", "AlbertConfig", **SMALL, embedding_size=8),
    "ALBERT with head": maker("AlbertForMaskedLM", "AlbertConfig", **SMALL, embedding_size=8),
    "ELECTRA": maker("ElectraForPreTraining", "ElectraConfig", **SMALL, embedding_size=8),
    "ELECTRA with head": maker("ElectraForMaskedLM", "ElectraConfig", **SMALL, embedding_size=8),
    "DeBERTa-v2": maker("DebertaV2Model", "DebertaV2Config", **SMALL),
    "DeBERTa-v2 with head": maker("DebertaV2ForMaskedLM", "DebertaV2Config", **SMALL),
    "ModernBERT": maker("ModernBertModel", "ModernBertConfig", **MODERN),
    "ModernBERT with head": maker("ModernBertForMaskedLM", "ModernBertConfig", **MODERN),
    "GPT-2": maker("GPT2Model", "GPT2Config", **SMALL),
    "GPT-2 with head": maker("GPT2LMHeadModel", "GPT2Config", **SMALL),
    "XGLM": maker("XGLMModel", "XGLMConfig", **XGLM),
    "T5": maker("T5ForConditionalGeneration", "T5Config", **T5),
    "T5 encoder": maker("T5EncoderModel", "T5Config", **T5),
    "mT5": maker("MT5ForConditionalGeneration", "MT5Config", **T5, tie_word_embeddings=False),
    "BART": maker("BartModel", "BartConfig", **SEQ2SEQ),
    "BART with head": maker("BartForConditionalGeneration", "BartConfig", **SEQ2SEQ),
    "mBART": maker("MBartModel", "MBartConfig", **SEQ2SEQ),
    "mBART with head": maker("MBartForConditionalGeneration", "MBartConfig", **SEQ2SEQ),
    "Llama without head": maker("LlamaModel", "LlamaConfig", **SMALL),
}

QWEN4 = (
    GROUPED
    | MOE
    | {
        "num_experts": 2,
        "shared_expert_intermediate_size": 12,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "linear_num_key_heads": 1,
        "linear_num_value_heads": 2,
        "hc_count": 2,
        "hc_lowrank": 4,
        "layer_types": ["linear_attention", "linear_attention"],
        "ple_layer_ids": [1],
        "heads_per_ngram": 2,
        "ngram_vocab_size_base": 500,
        "make_ngram_vocab_size_divisible_by": 8,
    }
)

ROPE = {"rope_type": "default", "rope_theta": 1e4}
PER_LAYER = {
    "vocab_size_per_layer_input": 890,
    "hidden_size_per_layer_input": 4,
    "laurel_rank": 4,
    "num_kv_shared_layers": 0,
    "sliding_window": 8,
    "layer_types": ["sliding_attention", "full_attention"],
}


def qwen2_vl(rows: int, **ids: Any) -> hf.PreTrainedModel:
    """A text model with a name of its own, and ids of images at the top."""
    text = GROUPED | {"vocab_size": rows, "rope_parameters": ROPE | {"mrope_section": [1, 1, 2]}}
    vision = {"depth": 1, "embed_dim": 16, "hidden_size": HIDDEN, "num_heads": 2, "patch_size": 14}
    special = {f"{name}_token_id": ids["bos_token_id"] for name in ("image", "video")}
    special |= {f"vision_{end}_token_id": ids["eos_token_id"] for end in ("start", "end")}
    config = hf.Qwen2VLConfig(text_config=text | ids, vision_config=vision, **special)
    return _distinct(hf.Qwen2VLForConditionalGeneration(config))


def qwen3_vl(rows: int, **ids: Any) -> hf.PreTrainedModel:
    """Another one, whose images also go into the first layers."""
    text = GROUPED | {"vocab_size": rows, "rope_parameters": ROPE | {"mrope_section": [1, 1, 2]}}
    vision = {"depth": 2, "hidden_size": HIDDEN, "num_heads": 2, "intermediate_size": 24}
    vision |= {"out_hidden_size": HIDDEN, "patch_size": 14, "num_position_embeddings": 16}
    special = {f"{name}_token_id": ids["bos_token_id"] for name in ("image", "video")}
    special |= {f"vision_{end}_token_id": ids["eos_token_id"] for end in ("start", "end")}
    config = hf.Qwen3VLConfig(
        text_config=text | ids, vision_config=vision | {"deepstack_visual_indexes": [0]}, **special
    )
    return _distinct(hf.Qwen3VLForConditionalGeneration(config))


def molmo2(rows: int, **ids: Any) -> hf.PreTrainedModel:
    """The last 32 rows are of the embedding alone, as of images; 24 are of no token."""
    text = GROUPED | {"vocab_size": rows - 32, "additional_vocab_size": 32, "rope_parameters": ROPE}
    vision = VISION | {"num_key_value_heads": 2, "head_dim": 8, "image_size": [28, 28]}
    adapter = {"hidden_size": HIDDEN, "text_hidden_size": HIDDEN, "num_attention_heads": 2}
    adapter |= {"num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 24}
    names = ("image_start", "low_res_image_start", "image_end", "frame_start", "frame_end")
    special = {f"{name}_token_id": rows - 1 - i for i, name in enumerate(names)}
    config = hf.Molmo2Config(
        text_config=text | ids,
        vision_config=vision,
        adapter_config=adapter | {"vision_feature_layer": [0]},
        image_patch_id=rows - 24,
        **special,
    )
    return _distinct(hf.Molmo2ForConditionalGeneration(config))


LAYOUTS: dict[str, Maker] = {
    "Qwen4-Exp": maker("Qwen4ExpForCausalLM", "Qwen4ExpTextConfig", **QWEN4),
    "Gemma 3n": maker("Gemma3nForCausalLM", "Gemma3nTextConfig", **GROUPED, **PER_LAYER),
    "Llama 3.2 Vision": maker(
        "MllamaForCausalLM",
        "MllamaTextConfig",
        **SMALL,
        num_key_value_heads=1,
        rope_parameters=ROPE,
        cross_attention_layers=[],
    ),
    "Molmo 2": molmo2,
    "Qwen2-VL": qwen2_vl,
    "Qwen3-VL": qwen3_vl,
    "RoBERTa": maker(
        "RobertaForCausalLM",
        "RobertaConfig",
        **SMALL | {"max_position_embeddings": 80, "is_decoder": True},
    ),
}
"""Sources whose vocabulary is in more than an embedding and a head."""
