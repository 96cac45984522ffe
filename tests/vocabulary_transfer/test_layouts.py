"""Sources with more than an embedding and a head, through a transfer that is proved."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoConfig

from saltlm.errors import VocabularyError
from saltlm.models.skeleton import loader_of
from saltlm.record.arrays import Origin
from saltlm.vocabulary_transfer.transfer import transfer
from tiny_pairs import faults, write_pair

pytestmark = pytest.mark.usefixtures("with_proof")


def moved(result):
    """The ids of copied rows in the new model and in the source."""
    place = (result.provenance.source_ids >= 0).nonzero().squeeze(1)
    return place, result.provenance.source_ids[place]


def with_two_tables(source):
    """The flag says tied, the file holds two tables."""
    file = source / "model.safetensors"
    tensors = load_file(file)
    head = tensors["model.embed_tokens.weight"].flip(0).contiguous()
    save_file(tensors | {"lm_head.weight": head}, file, {"format": "pt"})


def with_further_tokens(source):
    """A layer that transformers leaves out, with tables of its own (DeepSeek-V3, GLM-4.5)."""
    file = source / "model.safetensors"
    tensors = load_file(file)
    table = tensors["model.embed_tokens.weight"]
    extra = {"model.layers.2.embed_tokens.weight": table.clone()}
    extra |= {"model.layers.2.shared_head.head.weight": table.flip(1).contiguous()}
    save_file(tensors | extra, file, {"format": "pt"})


MOLMO2 = tuple(f"model.transformer.wte.{name}" for name in ("embedding", "new_embedding"))


def as_published(source):
    """Rows of added tokens have a tensor of their own; transformers saves two halves (Molmo 2)."""
    file = source / "model.safetensors"
    tensors = load_file(file)
    table = torch.cat([tensors[name] for name in MOLMO2])
    parts = table.split([len(tensors["lm_head.weight"]), 32])
    save_file(tensors | dict(zip(MOLMO2, parts, strict=True)), file, {"format": "pt"})
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.add_special_tokens(["<im_patch>"])  # among the rows that have no logit
    tokenizer.save(str(source / "tokenizer.json"))


def load_whole(directory):
    """The tensors of a model; an embedding that is stored in two is one."""
    tensors = load_file(directory / "model.safetensors")
    if MOLMO2[0] in tensors:
        assert len(tensors[MOLMO2[1]]) == 32
        tensors["wte"] = torch.cat([tensors.pop(name) for name in MOLMO2])
    return tensors


def as_it_is(source):
    """What the class builds: rows for every layer, surplus rows, ids of images."""


@pytest.mark.parametrize(
    ("name", "change", "mode"),
    [
        ("Gemma 3n", as_it_is, "replace"),
        ("Llama 3.2 Vision", as_it_is, "replace"),
        ("Molmo 2", as_published, "replace"),
        ("Molmo 2", as_published, "extend"),
        ("Qwen2-VL", as_it_is, "replace"),
        ("Llama", with_further_tokens, "replace"),
        ("SmolLM2", with_two_tables, "replace"),
    ],
)
def test_a_layout(name, change, mode, tokenizers_by_family, tmp_path):
    source, plm = write_pair(tmp_path, tokenizers_by_family, name)
    change(source)
    result = transfer(source, plm, tmp_path / "out", mode=mode)
    assert result.proof.missing is None
    assert result.proof.columns > 500
    if change is not with_further_tokens:  # which the class of a Llama has no place for
        cut = f"{MOLMO2[0]} of another size, {MOLMO2[1]} of another size"
        found = [finding.detail for finding in faults(tmp_path / "out")]
        assert found == ([cut] if name == "Molmo 2" else [])
    old, new = (load_whole(path) for path in (source, tmp_path / "out"))
    assert old.keys() == new.keys()
    place, before = moved(result)
    grown = [key for key in old if old[key].shape != new[key].shape]
    assert len(grown) >= (1 if name == "SmolLM2" else 2)
    for key in grown:
        known = (before < len(old[key])) & (place < len(new[key]))
        assert torch.equal(new[key][place[known]], old[key][before[known]]), key
        made = (result.provenance.origin == Origin.MADE).nonzero().squeeze(1)
        assert new[key][made].isfinite().all()
        assert new[key][made].std() > 0
    config = AutoConfig.from_pretrained(tmp_path / "out")
    assert (
        loader_of(config).__name__
        == json.loads((source / "config.json").read_text())["architectures"][0]
    )
    if name == "SmolLM2":
        assert not config.tie_word_embeddings
    if name in ("Llama 3.2 Vision", "Molmo 2"):
        n, key = (32, "wte") if name == "Molmo 2" else (8, "model.embed_tokens.weight")
        assert len(new[key]) - len(new["lm_head.weight"]) == n
        assert torch.equal(new[key][-n:], old[key][-n:])
    if name == "Molmo 2":
        id = result.tokenizer.token_to_id("<im_patch>")
        assert config.image_patch_id == id
        row = old["wte"][AutoConfig.from_pretrained(source).image_patch_id]
        assert torch.equal(new["wte"][id], row)
        assert config.frame_end_token_id == len(new["wte"]) - 5  # which the tokenizer has not
    if name == "Qwen2-VL":
        tokenizer = result.tokenizer
        assert config.image_token_id == tokenizer.token_to_id("<|im_start|>")
        assert config.vision_end_token_id == tokenizer.token_to_id("<|im_end|>")


def test_positions_begin_where_they_did(tokenizers_by_family, tmp_path):
    """Positions are counted from the id of pad: it stays that of the same token."""
    pad = tokenizers_by_family["bytelevel"].token_to_id("<|im_end|>")
    source, plm = write_pair(tmp_path, tokenizers_by_family, "RoBERTa", pad_token_id=pad)
    result = transfer(source, plm, tmp_path / "out")
    assert result.proof.missing is None
    assert not faults(tmp_path / "out")
    assert result.tokenizer.token_to_id("<|im_end|>") == pad
    assert AutoConfig.from_pretrained(tmp_path / "out").pad_token_id == pad
    for special, problem in (
        ({"drop": ["<|im_end|>"]}, "the new vocabulary does not have it"),
        ({"roles": {"pad": "<|im_start|>"}}, "pad would be '<|im_start|>'"),
    ):
        with pytest.raises(VocabularyError, match=f"of pad, {pad} .* but {re.escape(problem)}"):
            transfer(source, plm, tmp_path / "other", special_tokens=special)


SQUARE = {"pixel_values": torch.linspace(-1, 1, 3 * 28 * 28).reshape(1, 3, 28, 28)}
PATCHES = {
    "pixel_values": torch.linspace(-1, 1, 4 * 1176).reshape(4, 1176),
    "image_grid_thw": torch.tensor([[1, 2, 2]]),
}


@pytest.mark.parametrize(
    ("name", "image", "size", "settings"),
    [
        ("Qwen3-VL", PATCHES, 1, {}),
        ("LLaVA", SQUARE, 4, {"image_token_id": 1}),
        ("Gemma 3 with vision", SQUARE, 4, {"image_token_id": 1}),
    ],
)
def test_an_image_gives_the_logits_that_it_gave(
    name, image, size, settings, tokenizers_by_family, tmp_path
):
    source, plm = write_pair(tmp_path, tokenizers_by_family, name, **settings)
    result = transfer(source, plm, tmp_path / "out", prove=False)
    place, before = moved(result)
    logits = []
    for directory, ids in ((source, before), (tmp_path / "out", place)):
        config = AutoConfig.from_pretrained(directory)
        marker = getattr(config, "image_token_id", None)
        text = torch.cat([ids[300:304], torch.full((size,), marker), ids[310:314]]).unsqueeze(0)
        model = loader_of(config).from_pretrained(directory).eval()
        types = (text == marker).long()
        more = {"mm_token_type_ids" if name.startswith("Q") else "token_type_ids": types}
        more = {} if name == "LLaVA" else more
        with torch.inference_mode():
            seen = model(input_ids=text, **image, **more).logits
            unseen = model(input_ids=ids[300:312].unsqueeze(0)).logits
        assert seen.shape[1] == 8 + size
        assert not torch.allclose(seen[0, -1], unseen[0, 7])
        logits.append(seen[0][:, ids])
    torch.testing.assert_close(*logits, rtol=1e-5, atol=1e-5)


def test_quantised_tables_are_whole_in_the_new_model(tokenizers_by_family, tmp_path):
    """The result loads without the package; other modules would stay packed."""
    source, plm = write_pair(tmp_path, tokenizers_by_family, "Llama")
    file, settings = source / "model.safetensors", source / "config.json"
    tensors = load_file(file)
    for module in ("model.embed_tokens", "lm_head"):
        table = tensors[f"{module}.weight"]
        scale = table.abs().amax(1, keepdim=True) / 400
        tensors[f"{module}.weight"] = (table / scale).to(torch.float8_e4m3fn)
        tensors[f"{module}.weight_scale_inv"] = scale
    save_file(tensors, file, {"format": "pt"})
    values = json.loads(settings.read_text())
    values["quantization_config"] = {"quant_method": "fp8", "modules_to_not_convert": ["x"]}
    settings.write_text(json.dumps(values))
    (source / "hf_quant_config.json").write_text("{}")
    result = transfer(source, plm, tmp_path / "out")
    assert (
        result.proof.missing == "embedding or head of the source are quantised, those here are not"
    )
    assert "lm_head and model.embed_tokens of the source were fp8, and are whole numbers now" in (
        result.notes
    )
    config = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    assert config["modules_to_not_convert"] == ["x", "lm_head", "model.embed_tokens"]
    assert (tmp_path / "out" / "hf_quant_config.json").is_file()
    new = load_file(tmp_path / "out" / "model.safetensors")
    assert new.keys() == {key for key in tensors if "scale" not in key}
    place, before = moved(result)
    for key in ("model.embed_tokens.weight", "lm_head.weight"):
        scale = tensors[key.replace("weight", "weight_scale_inv")][before]
        expected = tensors[key].float()[before] * scale
        torch.testing.assert_close(new[key][place], expected, rtol=0, atol=0)
