"""Finding the per-token tables of many architectures by name and shape alone."""

import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file

import saltlm.models.checkpoint
from saltlm.config.transfer import load_config
from saltlm.errors import CheckpointError
from saltlm.models.architecture import read_config
from saltlm.models.checkpoint import Checkpoint, open_checkpoint
from saltlm.models.table_names import names_by_class
from saltlm.models.token_tables import ParentKind, Tables, read_tables, replacements
from tiny_models import molmo2

V = 100
SMALL: dict[str, Any] = {
    "vocab_size": V,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
WIDE = {"vocab_size": V, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}
WIDE |= {"bos_token_id": 1, "eos_token_id": 2}
BART = {"vocab_size": V, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1}
BART |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 24}
BART |= {"decoder_ffn_dim": 24, "max_position_embeddings": 32}
T5 = {"vocab_size": V, "d_model": 16, "d_kv": 8, "num_layers": 1, "num_heads": 2, "d_ff": 24}
VISION = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
VISION |= {"intermediate_size": 24, "image_size": 28, "patch_size": 14}
GEMMA = SMALL | {"head_dim": 8, "num_key_value_heads": 1}

SOURCES = {
    "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**SMALL)),
    "llama tied": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**SMALL, tie_word_embeddings=True)),
    "gpt2": lambda: hf.GPT2LMHeadModel(hf.GPT2Config(**WIDE)),
    "gptj, head bias": lambda: hf.GPTJForCausalLM(hf.GPTJConfig(**WIDE, rotary_dim=4)),
    "gptneox, embed_out": lambda: hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**SMALL)),
    "phi, head bias": lambda: hf.PhiForCausalLM(hf.PhiConfig(**SMALL)),
    "ctrl, w": lambda: hf.CTRLLMHeadModel(hf.CTRLConfig(**WIDE, dff=24)),
    "gemma": lambda: hf.GemmaForCausalLM(hf.GemmaConfig(**GEMMA)),
    "rwkv, head": lambda: hf.RwkvForCausalLM(
        hf.RwkvConfig(vocab_size=V, hidden_size=16, num_hidden_layers=2)
    ),
    "opt, projected": lambda: hf.OPTForCausalLM(
        hf.OPTConfig(
            vocab_size=V,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            ffn_dim=24,
            max_position_embeddings=32,
            word_embed_proj_dim=8,
        )
    ),
    "xglm": lambda: hf.XGLMForCausalLM(
        hf.XGLMConfig(vocab_size=V, d_model=16, num_layers=1, attention_heads=2, ffn_dim=24)
    ),
    "bert decoder, bias": lambda: hf.BertLMHeadModel(hf.BertConfig(**SMALL, is_decoder=True)),
    "vocabulary as wide as the model": lambda: hf.LlamaForCausalLM(
        hf.LlamaConfig(**SMALL | {"hidden_size": V, "num_attention_heads": 2})
    ),
    "llava, nested": lambda: hf.LlavaForConditionalGeneration(
        hf.LlavaConfig(
            text_config=hf.LlamaConfig(**SMALL),
            vision_config=hf.CLIPVisionConfig(**VISION, projection_dim=16),
        )
    ),
}

PLMS = {
    "bert, no prefix": lambda: hf.BertModel(hf.BertConfig(**SMALL)),
    "bert, mlm head": lambda: hf.BertForMaskedLM(hf.BertConfig(**SMALL)),
    "roberta": lambda: hf.RobertaForMaskedLM(hf.RobertaConfig(**SMALL)),
    "electra": lambda: hf.ElectraForPreTraining(hf.ElectraConfig(**SMALL, embedding_size=8)),
    "modernbert": lambda: hf.ModernBertForMaskedLM(
        hf.ModernBertConfig(**SMALL, cls_token_id=1, sep_token_id=2)
    ),
    "t5": lambda: hf.T5ForConditionalGeneration(hf.T5Config(**T5)),
    "t5 encoder": lambda: hf.T5EncoderModel(hf.T5Config(**T5)),
    "bart": lambda: hf.BartForConditionalGeneration(hf.BartConfig(**BART)),
    "headless gpt2": lambda: hf.GPT2Model(hf.GPT2Config(**WIDE)),
    "headless untied llama": lambda: hf.LlamaModel(hf.LlamaConfig(**SMALL)),
}


def save(model: Any, directory: Path) -> Any:
    """Saves the model with every number of its tables distinct."""
    for table in (model.get_input_embeddings(), model.get_output_embeddings()):
        if table is not None:
            torch.nn.init.normal_(table.weight)
            if getattr(table, "bias", None) is not None:
                torch.nn.init.normal_(table.bias)
    model.save_pretrained(directory)
    return model


def read(directory: Path, side: ParentKind = "source", **names: str) -> Tables:
    return read_tables(open_checkpoint(directory), read_config(directory), side=side, **names)


def edit(directory: Path, **changes: torch.Tensor | None) -> None:
    """Adds tensors to a single-file checkpoint; None removes them. `__` in a name is a dot."""
    file = directory / "model.safetensors"
    tensors = load_file(file) | {name.replace("__", "."): t for name, t in changes.items()}
    save_file({name: t for name, t in tensors.items() if t is not None}, file, {"format": "pt"})


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    save(SOURCES["llama"](), tmp_path)
    return tmp_path


@pytest.fixture
def tied_llama(tmp_path: Path) -> Path:
    save(SOURCES["llama tied"](), tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", SOURCES)
def test_the_tables_of_a_source_are_those_of_the_loaded_model(tmp_path, name):
    model = save(SOURCES[name](), tmp_path)
    tables = read(tmp_path)
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings()
    assert torch.equal(tables.embedding, embedding)
    assert tables.is_tied == (head.weight is embedding) == (tables.head is None)
    if tables.head is not None:
        assert torch.equal(tables.head, head.weight)
    bias = getattr(head, "bias", None)
    assert (tables.head_bias is None) == (bias is None)
    if bias is not None:
        assert torch.equal(tables.head_bias, bias)


@pytest.mark.parametrize("name", PLMS)
def test_of_a_plm_only_the_embedding_is_read(tmp_path, name):
    model = save(PLMS[name](), tmp_path)
    tables = read(tmp_path, "plm")
    assert torch.equal(tables.embedding, model.get_input_embeddings().weight)
    assert (tables.head, tables.head_bias) == (None, None)
    assert tables.names.keys() == {"embedding"}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_tables_keep_the_dtype_of_the_file(tmp_path, dtype):
    save(SOURCES["llama"]().to(dtype), tmp_path)
    assert read(tmp_path).embedding.dtype == dtype


def test_all_copies_of_a_tied_table_are_named(tied_llama):
    table = load_file(tied_llama / "model.safetensors")["model.embed_tokens.weight"]
    layer = {"model__layers__2__embed_tokens__weight": table.clone()}
    edit(tied_llama, lm_head__weight=table.clone(), **layer)
    tables = read(tied_llama)
    assert tables.is_tied
    assert set(tables.names["embedding"]) == {
        "model.embed_tokens.weight",
        "lm_head.weight",
        "model.layers.2.embed_tokens.weight",
    }


def test_t5_copies_of_the_shared_table_are_one_embedding(tmp_path):
    save(PLMS["t5"](), tmp_path)
    table = load_file(tmp_path / "model.safetensors")["shared.weight"]
    copies = {"encoder.embed_tokens.weight": table.clone()}
    edit(tmp_path, **copies, **{"decoder.embed_tokens.weight": table.clone()})
    names = read(tmp_path, "plm").names["embedding"]
    assert set(names) == {"shared.weight", *copies, "decoder.embed_tokens.weight"}


def test_bert_keeps_its_bias_under_two_names(tmp_path):
    model = save(SOURCES["bert decoder, bias"](), tmp_path)
    bias = model.get_output_embeddings().bias.detach().clone()
    edit(tmp_path, **{"cls.predictions.decoder.bias": bias})
    assert set(read(tmp_path).names["head_bias"]) == {
        "cls.predictions.bias",
        "cls.predictions.decoder.bias",
    }


def test_a_second_bias_that_differs_is_a_table_of_its_own(tmp_path):
    model = hf.BertLMHeadModel(hf.BertConfig(**SMALL, is_decoder=True, tie_word_embeddings=False))
    torch.nn.init.normal_(model.cls.predictions.bias)
    save(model, tmp_path)
    tables = read(tmp_path)
    assert torch.equal(tables.head_bias, model.get_output_embeddings().bias)
    assert tables.names["head_bias"] == ("cls.predictions.decoder.bias",)
    (further,) = tables.further
    assert (further.names, further.is_input) == (("cls.predictions.bias",), False)
    assert torch.equal(further.table.squeeze(1), model.cls.predictions.bias)
    new = torch.zeros(7, 16), torch.ones(7, 16), torch.ones(7), [torch.full((7, 1), 2.0)]
    replaced = replacements(open_checkpoint(tmp_path), tables, *new)
    assert replaced["cls.predictions.bias"].tolist() == [2.0] * 7


def test_a_tied_model_may_store_its_head_only(tied_llama):
    table = load_file(tied_llama / "model.safetensors")["model.embed_tokens.weight"]
    edit(tied_llama, model__embed_tokens__weight=None, lm_head__weight=table)
    tables = read(tied_llama)
    assert tables.names == {"embedding": ("lm_head.weight",)}
    assert torch.equal(tables.embedding, table)
    assert tables.is_tied


def test_a_head_that_differs_is_kept_apart_as_in_transformers(tied_llama, caplog):
    edit(tied_llama, lm_head__weight=torch.randn(V, 16))
    with caplog.at_level(logging.WARNING):
        tables = read(tied_llama)
    model = hf.LlamaForCausalLM.from_pretrained(tied_llama)
    assert torch.equal(tables.head, model.lm_head.weight)
    assert not tables.is_tied
    assert "says tie_word_embeddings, but" in caplog.text


def test_an_untied_model_without_a_head_is_refused(tmp_path):
    save(PLMS["headless untied llama"](), tmp_path)
    expected = r"has no head: looked for a tensor of 100 rows .* embed_tokens\.weight \[100, 16\]"
    with pytest.raises(CheckpointError, match=expected) as caught:
        read(tmp_path)
    assert named(caught.value.hint) == {"source_embedding", "source_head"}


def named(hint):
    """Return the options that a hint proposes, which are there."""
    names = re.findall(r"--set tensors\.(\w+)=NAME", hint)
    return load_config(None, [f"tensors.{name}=x" for name in names]).tensors.model_fields_set


def test_an_unknown_layout_names_the_nearest_and_can_be_overridden(llama):
    tensors = load_file(llama / "model.safetensors")
    table, head = tensors["model.embed_tokens.weight"], tensors["lm_head.weight"]
    moved = {"model__embed_tokens__weight": None, "lm_head__weight": None}
    edit(llama, **moved, model__table__weight=table, model__rows__weight=head)
    expected = r"has no embedding: .* 100 rows .* nearest are model\.rows\.weight \[100, 16\]"
    with pytest.raises(CheckpointError, match=expected):
        read(llama)
    with pytest.raises(CheckpointError, match="has no embedding") as caught:
        read(llama, "plm")
    assert named(caught.value.hint) == {"plm_embedding"}
    tables = read(llama, embedding="model.table.weight", head="model.rows.weight")
    assert torch.equal(tables.embedding, table)
    assert torch.equal(tables.head, head)
    assert torch.equal(read(llama, "plm", embedding="model.table.weight").embedding, table)


def test_an_override_must_name_a_table(llama):
    with pytest.raises(CheckpointError, match="has no tensor 'model.embed.weight'") as caught:
        read(llama, embedding="model.embed.weight")
    assert "model.embed_tokens.weight" in caught.value.hint
    with pytest.raises(CheckpointError, match=r"norm\.weight .* has shape \[16\], but a table"):
        read(llama, head="model.norm.weight")
    with pytest.raises(CheckpointError, match=r"shape \[24, 16\], .* dimensions and 100 rows"):
        read(llama, head="model.layers.0.mlp.up_proj.weight")


def test_a_plm_with_two_embeddings_asks_which(tmp_path):
    save(PLMS["t5"](), tmp_path)
    edit(tmp_path, decoder__embed_tokens__weight=torch.randn(V, 16))
    with pytest.raises(CheckpointError, match="has several embeddings, and they differ: "):
        read(tmp_path, "plm")
    chosen = read(tmp_path, "plm", embedding="shared.weight")
    assert chosen.names == {"embedding": ("shared.weight",)}


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("model__embed_tokens_per_layer__weight", torch.zeros(V, 8)),
        ("model__layers__0__gate__tid2eid", torch.zeros(V, 2, dtype=torch.int64)),
        ("model__second_embedding__weight", torch.zeros(V, 12)),
        ("adapter__weight", torch.zeros(16, V)),
        ("token_scale", torch.zeros(V)),
    ],
)
def test_a_source_with_more_tables_than_are_understood_is_refused(llama, name, tensor):
    edit(llama, **{name: tensor})
    name = name.replace("__", ".")
    with pytest.raises(CheckpointError, match=f"not understand: {name} .*taken: .* as embedding"):
        read(llama)
    if "second" not in name:
        assert read(llama, "plm").embedding.shape == (V, 16)


def test_rows_for_every_layer_are_a_table_of_their_own(tmp_path):
    config = hf.Gemma3nTextConfig(
        **GEMMA,
        vocab_size_per_layer_input=96,
        hidden_size_per_layer_input=4,
        laurel_rank=4,
        num_kv_shared_layers=0,
        layer_types=["sliding_attention", "full_attention"],
    )
    model = save(hf.Gemma3nForCausalLM(config), tmp_path)
    tables = read(tmp_path)
    (further,) = tables.further
    assert further.names == ("model.embed_tokens_per_layer.weight",)
    assert further.is_input
    assert torch.equal(further.table, model.model.embed_tokens_per_layer.weight)
    assert set(tables.all_names) == {"model.embed_tokens.weight", *further.names}


def test_tables_of_layers_that_transformers_leaves_out(llama):
    """DeepSeek-V3, GLM-4.5: one that is the embedding goes with it, others stand for themselves."""
    whole = load_file(llama / "model.safetensors")
    extra = {
        "model.layers.2.embed_tokens.weight": whole["model.embed_tokens.weight"].clone(),
        "model.layers.2.shared_head.head.weight": torch.randn(V, 16),
        "model.layers.3.embed_tokens.weight": torch.randn(V, 16),
    }
    edit(llama, **extra)
    tables = read(llama)
    assert tables.names["embedding"] == ("model.embed_tokens.weight", [*extra][0])
    assert [(table.names, table.is_input) for table in tables.further] == [
        (("model.layers.3.embed_tokens.weight",), True),
        (("model.layers.2.shared_head.head.weight",), False),
    ]


def test_rows_that_the_head_lacks_are_surplus(tmp_path):
    rope = {"rope_type": "default", "rope_theta": 1e4}
    text = hf.models.mllama.MllamaTextConfig(**SMALL, num_key_value_heads=1, rope_parameters=rope)
    model = save(hf.MllamaForCausalLM(text), tmp_path)
    tables = read(tmp_path)
    assert (len(tables.embedding), len(tables.head), tables.surplus) == (V + 8, V, 8)
    assert torch.equal(tables.embedding, model.get_input_embeddings().weight)


@pytest.mark.parametrize("n_first", [V, V // 2, V + 32])
def test_an_embedding_in_two_tensors_is_read_as_one(tmp_path, n_first):
    """Molmo 2: wherever it is cut, it is written with the rows that the head lacks apart."""
    model = molmo2(V + 32, bos_token_id=1, eos_token_id=2)
    save(model, tmp_path)
    whole, head = model.get_input_embeddings().weight.detach(), model.lm_head.weight.detach()
    first, rest = whole.split([n_first, len(whole) - n_first])
    wte = "model__transformer__wte__"
    edit(tmp_path, **{f"{wte}embedding": first, f"{wte}new_embedding": rest})
    tables = read(tmp_path)
    assert torch.equal(tables.embedding, whole)
    assert (tables.surplus, tables.is_tied) == (32, False)
    names = ("model.transformer.wte.embedding", "lm_head.weight")
    assert tables.all_names == (*names, "model.transformer.wte.new_embedding")
    table = torch.randn(70 + 32, 16)
    new = replacements(open_checkpoint(tmp_path), tables, table, table[:70], None)
    assert [len(new[name]) for name in tables.all_names] == [70, 70, 32]
    assert torch.equal(torch.cat([new[names[0]], new[tables.rest]]), table)
    settings = tmp_path / "config.json"  # transformers does not tie them
    settings.write_text(settings.read_text().replace('embeddings": false', 'embeddings": true'))
    edit(tmp_path, lm_head__weight=first[:V] if n_first == V else head)
    assert not read(tmp_path).is_tied
    edit(tmp_path, **{f"{wte}new_embedding": torch.zeros(7, 16)})
    with pytest.raises(CheckpointError, match="in parts, model.transformer.wte.embedding and"):
        read(tmp_path)


def test_a_table_in_parts_is_refused(llama):
    edit(llama, embed_tokens__weight=torch.zeros(V // 2, 16))
    expected = r"stored in parts, embed_tokens\.weight and model\.embed_tokens\.weight"
    with pytest.raises(CheckpointError, match=expected):
        read(llama)


def test_a_layer_as_wide_as_the_vocabulary_hides_nothing(tmp_path):
    """What the class builds decides, not equal numbers."""
    wide = SMALL | {"hidden_size": V, "intermediate_size": V}
    save(hf.LlamaForCausalLM(hf.LlamaConfig(**wide)), tmp_path)
    assert set(read(tmp_path).all_names) == {"model.embed_tokens.weight", "lm_head.weight"}
    edit(tmp_path, model__layers__0__table__weight=torch.zeros(V, 7))
    with pytest.raises(CheckpointError, match=r"not understand: model\.layers\.0\.table\.weight"):
        read(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_counted(llama, value, monkeypatch):
    monkeypatch.setattr(saltlm.models.checkpoint, "_BLOCK_NUMBERS", 160)
    table = torch.randn(V, 16)
    table[[37, 99], 3] = value
    edit(llama, model__embed_tokens__weight=table)
    with pytest.raises(CheckpointError, match="NaN or inf in 2 of 100 rows, the first is row 37"):
        read(llama)


def test_a_bias_is_counted_by_token(tied_llama):
    bias = torch.zeros(1, V)
    bias[0, 41] = float("nan")
    edit(tied_llama, final_logits_bias=bias)
    with pytest.raises(CheckpointError, match="NaN or inf in 1 of 100 rows, the first is row 41"):
        read(tied_llama)


def test_a_quantised_table_is_refused(llama):
    edit(llama, model__embed_tokens__weight=torch.zeros(V, 16, dtype=torch.int8))
    with pytest.raises(CheckpointError, match="is stored as I8, but a table must be one of F16"):
        read(llama)


def test_a_config_without_vocab_size_is_refused(llama):
    with pytest.raises(CheckpointError, match="gives vocab_size None"):
        read_tables(open_checkpoint(llama), hf.ViTConfig(), side="source")


def test_replacements_cover_every_name_in_its_shape(tied_llama):
    stored = load_file(tied_llama / "model.safetensors")["model.embed_tokens.weight"]
    edit(tied_llama, lm_head__weight=stored.clone(), final_logits_bias=torch.zeros(1, V))
    checkpoint = open_checkpoint(tied_llama)
    tables = read(tied_llama)
    table, bias = torch.randn(7, 16), torch.randn(7)
    new = replacements(checkpoint, tables, table, None, bias)
    assert new["model.embed_tokens.weight"] is table
    assert new["lm_head.weight"] is table
    assert new["final_logits_bias"].tolist() == [bias.tolist()]
    with pytest.raises(ValueError, match="new tables"):
        replacements(checkpoint, tables, table, table, bias)


def test_tokens_that_are_looked_up_in_several_tables_are_refused(tmp_path):
    """Musicgen's are sounds, in a table for each codebook."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "ffn_dim": 16}
    sizes |= {"pad_token_id": None, "bos_token_id": None}
    config = hf.MusicgenDecoderConfig(vocab_size=V, architectures=["MusicgenForCausalLM"], **sizes)
    with pytest.raises(CheckpointError, match="ForCausalLM looks up tokens in a ModuleList, not"):
        names_by_class(Checkpoint(tmp_path, {}, (), {}), config)
