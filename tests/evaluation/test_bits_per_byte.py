import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertModel,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from saltlm.errors import CheckpointError, ConfigError, VocabularyError
from saltlm.evaluation import bits_per_byte as module
from saltlm.evaluation.bits_per_byte import BitsPerByte, bits_per_byte
from saltlm.models.logits import document_start

ROWS = 1100


@pytest.fixture
def tokenizer(tokenizers_by_family, roles_by_family, save_tokenizer_dir, tmp_path: Path):
    """Byte-level, like SmolLM2-Instruct's: eos is <|im_end|>, and nothing is added to a text."""
    roles = roles_by_family["bytelevel"]
    return AutoTokenizer.from_pretrained(
        save_tokenizer_dir(tokenizers_by_family["bytelevel"], tmp_path / "tokenizer", **roles)
    )


@pytest.fixture
def llama():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=ROWS,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).eval()


@torch.no_grad()
def naive_bits(model, tokenizer, document, context, stride, prompt=""):
    """One token at a time, in float64, each with the window that the docstring promises."""
    given, ids = (
        tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, document)
    )
    ids = [tokenizer.convert_tokens_to_ids("<|endoftext|>"), *given, *ids]
    bits, start, end = 0.0, 0, context
    for position in range(1 + len(given), len(ids)):
        while position > end:
            start, end = start + stride, end + stride
        logits = model(torch.tensor([ids[start:position]])).logits[0, -1].numpy().astype(np.float64)
        highest = logits.max()
        log_sum = highest + np.log(np.exp(logits - highest).sum())
        bits -= (logits[ids[position]] - log_sum) / math.log(2)
    return bits


@pytest.mark.parametrize(("context", "stride"), [(256, 256), (16, 5), (7, 7)])
def test_equals_a_naive_loop_over_tokens(llama, tokenizer, corpus, context, stride):
    documents = [corpus[0], corpus[12][:24], corpus[6]]
    result = bits_per_byte(llama, tokenizer, documents, context=context, stride=stride, batch=3)
    expected = [naive_bits(llama, tokenizer, text, context, stride) for text in documents]
    np.testing.assert_allclose(result.bits, expected, rtol=1e-5)
    assert result.n_bytes == tuple(len(text.encode()) for text in documents)
    assert result.value == pytest.approx(sum(expected) / sum(result.n_bytes), rel=1e-5)
    assert result.lost_share == 0.0


@pytest.mark.parametrize(("context", "stride"), [(256, 256), (16, 5), (7, 7)])
def test_a_prompt_is_read_but_not_predicted(llama, tokenizer, corpus, context, stride):
    pairs = [(corpus[6], corpus[0]), ("", corpus[7]), (corpus[1], ""), (corpus[2], corpus[8][:9])]
    prompts, documents = zip(*pairs, strict=True)
    options = {"context": context, "stride": stride, "batch": 3}
    result = bits_per_byte(llama, tokenizer, documents, prompts=prompts, **options)
    expected = [
        naive_bits(llama, tokenizer, text, context, stride, prompt)
        for prompt, text in pairs
        if text
    ]
    np.testing.assert_allclose(result.bits, expected, rtol=1e-5)
    assert result.n_bytes == tuple(len(text.encode()) for text in documents if text)


def test_neither_batch_nor_chunk_nor_stride_matters_when_context_covers_all(
    llama, tokenizer, corpus, monkeypatch
):
    documents = corpus[:9]
    reference = bits_per_byte(llama, tokenizer, documents, context=256, stride=256, batch=9)
    monkeypatch.setattr(module, "_LOGITS_AT_ONCE", 3 * ROWS)
    other = bits_per_byte(llama, tokenizer, documents, context=256, stride=1, batch=2)
    np.testing.assert_allclose(other.bits, reference.bits, rtol=1e-5)


def test_documents_do_not_see_each_other(llama, tokenizer, corpus):
    together = bits_per_byte(llama, tokenizer, corpus[:4], context=64, stride=32)
    apart = [bits_per_byte(llama, tokenizer, [text], context=64, stride=32) for text in corpus[:4]]
    np.testing.assert_allclose(together.bits, [one.bits[0] for one in apart], rtol=1e-5)


def test_a_uniform_model_spends_log2_of_its_rows_per_token(llama, tokenizer, corpus):
    torch.nn.init.zeros_(llama.lm_head.weight)
    result = bits_per_byte(llama, tokenizer, corpus, context=128, stride=64)
    np.testing.assert_allclose(result.bits, np.array(result.n_tokens) * math.log2(ROWS), rtol=1e-5)


def test_what_a_model_does_after_its_head_counts(tokenizer, corpus):
    torch.manual_seed(0)
    gemma = Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=ROWS,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            max_position_embeddings=256,
            initializer_range=0.5,
            final_logit_softcapping=2.0,
        )
    ).eval()
    result = bits_per_byte(gemma, tokenizer, corpus[:2], context=64, stride=64)
    expected = [naive_bits(gemma, tokenizer, text, 64, 64) for text in corpus[:2]]
    np.testing.assert_allclose(result.bits, expected, rtol=1e-4)


def test_an_unknown_change_of_the_logits_is_refused(llama, tokenizer, corpus):
    llama.register_forward_hook(
        lambda model, args, output: dataclasses.replace(output, logits=output.logits * 3)
    )
    with pytest.raises(CheckpointError, match="changes its logits after its head"):
        bits_per_byte(llama, tokenizer, corpus[:2], context=64, stride=64)


def test_lossy_tokenizer_is_reported(llama, tokenizers_by_family, tmp_path, save_tokenizer_dir):
    lossy = AutoTokenizer.from_pretrained(
        save_tokenizer_dir(
            tokenizers_by_family["unigram"], tmp_path / "lossy", eos_token="</s>", unk_token="<unk>"
        )
    )
    # The tab becomes a space, and the letter that no piece has becomes unknown.
    result = bits_per_byte(llama, lossy, ["the dog\tandꙮ"], context=64, stride=64)
    assert result.n_lost == (len("\t") + len("ꙮ".encode()),)
    assert result.lost_share == pytest.approx(4 / 14)


def test_first_token_is_predicted_from_what_the_tokenizer_puts_before_a_text(
    llama, tokenizer, tokenizers_by_family, roles_by_family, save_tokenizer_dir, tmp_path
):
    assert document_start(llama, tokenizer) == tokenizer.convert_tokens_to_ids("<|endoftext|>")
    adding = AutoTokenizer.from_pretrained(
        save_tokenizer_dir(
            tokenizers_by_family["sentencepiece"],
            tmp_path / "a",
            **roles_by_family["sentencepiece"],
        )
    )
    assert document_start(llama, adding) == adding.bos_token_id
    bare = AutoTokenizer.from_pretrained(
        save_tokenizer_dir(tokenizers_by_family["unigram"], tmp_path / "b")
    )
    assert document_start(llama, bare) == llama.config.bos_token_id
    llama.config.bos_token_id = None
    with pytest.raises(VocabularyError, match="neither bos nor eos"):
        document_start(llama, bare)


def test_leaves_the_model_as_it_was(llama, tokenizer, corpus):
    llama.train()
    bits_per_byte(llama, tokenizer, corpus[:1], context=64, stride=64)
    assert llama.training
    assert not llama.lm_head._forward_pre_hooks


def test_interval_is_seeded_and_holds_the_value():
    result = BitsPerByte((10.0, 40.0, 30.0, 8.0), (10, 20, 10, 8), (1, 1, 1, 1), (0, 0, 0, 0))
    low, high = result.interval(seed=3)
    assert (low, high) == result.interval(seed=3)
    assert 1.0 <= low < result.value < high <= 3.0
    narrow = result.interval(level=0.5, seed=3)
    assert low < narrow[0] <= narrow[1] < high


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context": 8, "stride": 9}, "stride 9 with context 8"),
        ({"context": 8, "stride": 0}, "stride 0 with context 8"),
        ({"context": 257, "stride": 8}, "context 257 is more than the model's 256 positions"),
        ({"context": 8, "stride": 8, "batch": 0}, "batch is 0"),
    ],
)
def test_options_that_do_not_fit(llama, tokenizer, corpus, options, message):
    with pytest.raises(ConfigError, match=message):
        bits_per_byte(llama, tokenizer, corpus[:1], **options)


def test_no_text(llama, tokenizer):
    with pytest.raises(ConfigError, match="no text to measure"):
        bits_per_byte(llama, tokenizer, ["", ""])


def test_ids_beyond_the_rows(tokenizer, corpus):
    small = GPT2LMHeadModel(GPT2Config(vocab_size=100, n_embd=8, n_layer=1, n_head=1))
    with pytest.raises(CheckpointError, match="but the model's head has 100 rows"):
        bits_per_byte(small, tokenizer, corpus[:1], context=64, stride=64)


def test_a_model_without_a_head(tokenizer, corpus):
    encoder = BertModel(
        BertConfig(vocab_size=ROWS, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
    )
    with pytest.raises(CheckpointError, match="BertModel has no output head"):
        bits_per_byte(encoder, tokenizer, corpus[:1], context=64, stride=64)
