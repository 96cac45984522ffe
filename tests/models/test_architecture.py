"""What may be a SOURCE, and what a broken config.json says."""

import json
from pathlib import Path

import pytest
import transformers as hf

from saltlm.errors import CheckpointError
from saltlm.models.architecture import (
    check_is_causal_lm,
    check_not_quantised,
    positions_begin_at,
    read_config,
)
from tiny_models import GROUPED, PER_LAYER


def config_of(directory: Path, config: hf.PreTrainedConfig, *architectures: str) -> Path:
    config.architectures = list(architectures) or None
    config.save_pretrained(directory)
    return directory


@pytest.mark.parametrize(
    ("config", "architecture"),
    [
        (hf.LlamaConfig(), "LlamaForCausalLM"),
        (hf.GPT2Config(), "GPT2LMHeadModel"),
        (hf.GPT2Config(), "GPT2Model"),
        (hf.GPTNeoXConfig(), "GPTNeoXForCausalLM"),
        (hf.BertConfig(is_decoder=True), "BertLMHeadModel"),
        (hf.BartConfig(is_decoder=True, is_encoder_decoder=False), "BartForCausalLM"),
        (hf.Gemma3Config(), "Gemma3ForConditionalGeneration"),
        (hf.LlavaConfig(), "LlavaForConditionalGeneration"),
    ],
)
def test_causal_language_models_pass(tmp_path, config, architecture):
    config_of(tmp_path, config, architecture)
    check_is_causal_lm(read_config(tmp_path), tmp_path)


def test_a_config_without_architectures_goes_by_its_type(tmp_path):
    check_is_causal_lm(read_config(config_of(tmp_path, hf.LlamaConfig())), tmp_path)
    with pytest.raises(CheckpointError, match="bert model is an encoder"):
        check_is_causal_lm(read_config(config_of(tmp_path, hf.BertConfig())), tmp_path)


@pytest.mark.parametrize(
    ("config", "architecture", "reason"),
    [
        (hf.BertConfig(), "BertModel", "is an encoder, which fills in masked tokens"),
        (hf.BertConfig(), "BertLMHeadModel", "is an encoder"),
        (hf.XLMRobertaConfig(), "XLMRobertaForMaskedLM", "is an encoder"),
        (hf.ModernBertConfig(), "ModernBertModel", "is an encoder"),
        (hf.T5Config(), "T5ForConditionalGeneration", "is an encoder-decoder"),
        (hf.T5Config(is_encoder_decoder=False), "T5EncoderModel", "is an encoder"),
        (hf.BartConfig(), "BartForConditionalGeneration", "is an encoder-decoder"),
        (hf.LlamaConfig(), "LlamaForSequenceClassification", "has a task head"),
        (hf.ViTConfig(), "ViTModel", "is not a causal language model that transformers knows"),
    ],
)
def test_other_models_are_refused_with_the_reason(tmp_path, config, architecture, reason):
    config_of(tmp_path, config, architecture)
    message = f"cannot be the SOURCE: {architecture} {reason}"
    with pytest.raises(CheckpointError, match=message) as caught:
        check_is_causal_lm(read_config(tmp_path), tmp_path)
    assert f"saltlm transfer HuggingFaceTB/SmolLM2-135M {tmp_path}" in caught.value.hint


def test_defaults_of_the_class_fill_what_the_file_leaves_out(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", "n_embd": 8}))
    assert read_config(tmp_path).tie_word_embeddings


def test_a_directory_without_a_config_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{}",
        '{"model_type": "no-such-model"}',
        '{"model_type": "llama", "hidden_size": "many"}',
        '{"model_type": "llama", "architectures": [{"x": 1}]}',
        '{"model_type": "mine", "auto_map": {"AutoConfig": "mine.MyConfig"}}',
    ],
)
def test_a_config_that_cannot_be_loaded_is_named(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json cannot be loaded: ."):
        read_config(tmp_path)


def test_quantised_weights_are_not_converted(tmp_path):
    quantised = {"quant_method": "gptq", "bits": 4}
    config_of(tmp_path, hf.LlamaConfig(quantization_config=quantised), "LlamaForCausalLM")
    with pytest.raises(CheckpointError, match=r"is quantised \(gptq\), so its weights cannot be"):
        check_not_quantised(read_config(tmp_path), tmp_path)
    check_not_quantised(hf.LlamaConfig(), tmp_path)


KOSMOS = {"layers": 1, "embed_dim": 16, "attention_heads": 2, "ffn_dim": 16, "vocab_size": 90}


@pytest.mark.parametrize(
    ("config", "begin"),
    [
        (hf.XGLMConfig(num_layers=1), 1),
        (hf.XGLMConfig(num_layers=1, pad_token_id=None), None),
        (hf.RobertaConfig(is_decoder=True, num_hidden_layers=1, pad_token_id=3), 3),
        (hf.Kosmos2_5Config(text_config=KOSMOS), 1),
        (hf.OPTConfig(num_hidden_layers=1), None),
        (hf.LlamaConfig(num_hidden_layers=1, pad_token_id=0), None),
        (hf.Gemma3Config(), None),
        (hf.Gemma3nTextConfig(vocab_size=900, pad_token_id=0, **GROUPED, **PER_LAYER), None),
        (hf.ViTConfig(pad_token_id=0), None),
    ],
    ids=lambda value: getattr(value, "model_type", value),
)
def test_positions_that_are_counted_from_pad_are_noticed(config, begin):
    assert positions_begin_at(config) == begin


def test_a_run_that_has_not_ended_is_told_from_what_is_no_model(tmp_path):
    with pytest.raises(CheckpointError, match="in the Hugging Face layout"):
        read_config(tmp_path)
    (tmp_path / "saltlm").mkdir()
    (tmp_path / "saltlm/metrics.jsonl").touch()
    with pytest.raises(CheckpointError, match="give the same saltlm adapt command again"):
        read_config(tmp_path)
