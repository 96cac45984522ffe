"""``saltlm merge`` on tiny models: every tensor is what its formula says, and what is written."""

import gc
import json
import re
import shutil

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import saltlm
from adapt_models import N_TOKENS, save_model
from conftest import CORPUS
from saltlm.adaptation.merge_select import best_weight
from saltlm.cli.main import cli
from saltlm.errors import CheckpointError, ConfigError, DataError, OutputError, SaltlmError
from saltlm.evaluation.results import model_hash
from saltlm.models import write
from tiny_models import molmo2

ROWS = {"model.embed_tokens.weight", "lm_head.weight"}
SPECIAL = [0, 1, 2]
NEW = [600, 700]  # of the adapted model, which the base writes otherwise


def other_weights(directory, seed, *, tokens=()):
    """Give a model other weights, and some of its tokens other spellings."""
    file = directory / "model.safetensors"
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: torch.randn(tensor.shape, generator=generator) / 4
        for name, tensor in load_file(file).items()
    }
    save_file(weights, file, metadata={"format": "pt"})
    definition = json.loads((directory / "tokenizer.json").read_text())
    spellings = {id: piece for piece, id in definition["model"]["vocab"].items()}
    for id in tokens:
        definition["model"]["merges"] = [
            pair for pair in definition["model"]["merges"] if spellings[id] not in "".join(pair)
        ]
        definition["model"]["vocab"][f"zzz{id}"] = definition["model"]["vocab"].pop(spellings[id])
    (directory / "tokenizer.json").write_text(json.dumps(definition))
    return directory


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A base, an adapted model with two tokens of its own, and what the base was tuned from."""
    folder = tmp_path_factory.mktemp("models")
    base = save_model(folder / "base", is_tied=False, has_record=False)
    return {
        "base": base,
        "adapted": other_weights(shutil.copytree(base, folder / "adapted"), 1, tokens=NEW),
        "pretrained": other_weights(shutil.copytree(base, folder / "pretrained"), 2),
    }


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(gc, "collect", lambda: 0)


def weights_of(directory):
    return {
        name: tensor.double().numpy()
        for name, tensor in load_file(directory / "model.safetensors").items()
    }


def merged(models, out, **options):
    return saltlm.merge(models["base"], models["adapted"], out, **options)


def test_the_body_is_interpolated_and_rows_are_taken_by_kind(models, tmp_path, monkeypatch):
    monkeypatch.setattr(write, "CHUNK_BYTES", 512)
    result = merged(models, tmp_path / "out", weight=0.25)
    base, adapted = weights_of(models["base"]), weights_of(models["adapted"])
    found = weights_of(tmp_path / "out")
    for name in found.keys() - ROWS:
        expected = base[name] + 0.25 * (adapted[name] - base[name])
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-6)
    for name in ROWS:
        expected = adapted[name].copy()
        expected[SPECIAL] = base[name][SPECIAL]
        np.testing.assert_array_equal(found[name], expected)
    n_new = len(adapted["lm_head.weight"]) - N_TOKENS + len(NEW)
    assert result.rows == {"special": 3, "shared": N_TOKENS - 3 - len(NEW), "new": n_new}
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    written = (tmp_path / "out" / "tokenizer.json").read_text()
    assert written == (models["adapted"] / "tokenizer.json").read_text()


@pytest.mark.parametrize("shared", ["base", "merged"])
def test_shared_rows_by_choice_and_special_ones_left_alone(models, tmp_path, shared):
    merged(models, tmp_path / "out", weight=0.75, shared=shared, special="adapted")
    base, adapted = weights_of(models["base"]), weights_of(models["adapted"])
    found = weights_of(tmp_path / "out")
    is_shared = np.zeros(len(found["lm_head.weight"]), bool)
    is_shared[:N_TOKENS] = True
    is_shared[SPECIAL + NEW] = False
    weight = 0.75 if shared == "merged" else 0.0
    for name in ROWS:
        np.testing.assert_array_equal(found[name][~is_shared], adapted[name][~is_shared])
        expected = base[name] + weight * (adapted[name] - base[name])
        close = np.isclose(found[name], expected, rtol=1e-5, atol=1e-6).all(1)
        assert close[is_shared].all()


def test_an_embedding_in_two_tensors_with_more_rows_than_the_head(models, tmp_path):
    """As Molmo 2 has them; some of the tokens have no logit."""
    base = shutil.copytree(models["base"], tmp_path / "base")
    torch.manual_seed(0)
    molmo2(N_TOKENS + 24, bos_token_id=0, eos_token_id=0).save_pretrained(base)
    adapted = other_weights(shutil.copytree(base, tmp_path / "adapted"), 1)
    saltlm.merge(base, adapted, tmp_path / "out", weight=0.5, shared="merged")
    one, other, found = map(weights_of, (base, adapted, tmp_path / "out"))
    parts = [f"model.transformer.wte.{name}" for name in ("embedding", "new_embedding")]
    assert len(found[parts[1]]) == 32
    for table in (one, other, found):
        table["wte"] = np.concatenate([table.pop(part) for part in parts])
    for name, n_rows in (("wte", N_TOKENS), ("lm_head.weight", N_TOKENS - 8)):
        expected = other[name].copy()
        expected[:n_rows] = (one[name][:n_rows] + other[name][:n_rows]) / 2
        expected[SPECIAL] = one[name][SPECIAL]
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-6)


def test_of_a_slerp_the_ends_have_weights_of_their_own(models, tmp_path):
    merged(models, tmp_path / "out", method="slerp", weight=1.0, ends="0.25")
    base, adapted = weights_of(models["base"]), weights_of(models["adapted"])
    found = weights_of(tmp_path / "out")
    for name in found.keys() - ROWS:
        left, right = base[name].ravel(), adapted[name].ravel()
        angle = np.arccos(left @ right / np.linalg.norm(left) / np.linalg.norm(right))
        arc = (np.sin(0.75 * angle) * left + np.sin(0.25 * angle) * right) / np.sin(angle)
        expected = arc if ".layers." in name else right
        np.testing.assert_allclose(found[name].ravel(), expected, rtol=1e-4, atol=1e-5)


def test_a_chat_vector_is_added_to_the_body(models, tmp_path):
    options = {"method": "chat-vector", "pretrained": models["pretrained"], "weight": 0.5}
    merged(models, tmp_path / "out", **options)
    base, adapted, third = (weights_of(models[n]) for n in ("base", "adapted", "pretrained"))
    found = weights_of(tmp_path / "out")
    for name in found.keys() - ROWS:
        expected = adapted[name] + 0.5 * (base[name] - third[name])
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("has_token", [True, False])
def test_a_chat_vector_brings_the_template_and_the_end_of_a_turn(models, tmp_path, has_token):
    chat = shutil.copytree(models["base"], tmp_path / "chat")
    template = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    (chat / "chat_template.jinja").write_text(template)
    (chat / "generation_config.json").write_text('{"eos_token_id": [2]}')
    adapted = shutil.copytree(models["adapted"], tmp_path / "adapted")
    (adapted / "generation_config.json").write_text('{"eos_token_id": 0, "max_length": 9}')
    if not has_token:
        file = adapted / "tokenizer.json"
        file.write_text(file.read_text().replace("<|im_end|>", "<|other|>"))
    options = {"method": "chat-vector", "pretrained": models["pretrained"]}
    saltlm.merge(chat, adapted, tmp_path / "out", **options)
    settings = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert settings == {"eos_token_id": [0, 2] if has_token else 0, "max_length": 9}
    file = tmp_path / "out" / "chat_template.jinja"
    assert file.exists() == has_token
    assert not has_token or file.read_text() == template


def test_a_tied_base_gives_an_untied_model_its_rows(models, tmp_path):
    tied = save_model(tmp_path / "tied", has_record=False)
    saltlm.merge(tied, models["adapted"], tmp_path / "out", weight=0.0)
    base, found = weights_of(tied), weights_of(tmp_path / "out")
    for name in ROWS:
        rows = base["model.embed_tokens.weight"][SPECIAL]
        np.testing.assert_array_equal(found[name][SPECIAL], rows)


def test_a_checkpoint_may_have_another_prefix_before_its_names(models, tmp_path):
    bare = shutil.copytree(models["base"], tmp_path / "bare")
    file = bare / "model.safetensors"
    weights = {name.removeprefix("model."): t for name, t in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})
    for base, out in ((models["base"], "one"), (bare, "two")):
        saltlm.merge(base, models["adapted"], tmp_path / out)
    one, two = ((tmp_path / out / "model.safetensors").read_bytes() for out in ("one", "two"))
    assert one == two


def test_the_weight_is_chosen_on_both_languages_and_all_is_recorded(models, tmp_path):
    for name, lines in (("de", CORPUS[6:9]), ("en", CORPUS[:3])):
        (tmp_path / f"{name}.txt").write_text("\n".join(lines), encoding="utf-8")
    shutil.copytree(models["adapted"], tmp_path / "adapted")
    (tmp_path / "adapted" / "README.md").write_text("# Mine\n", encoding="utf-8")
    texts = ["--heldout", tmp_path / "de.txt", "--english", tmp_path / "en.txt"]
    arguments = [models["base"], tmp_path / "adapted", "--out", tmp_path / "out", "--select"]
    shown = CliRunner().invoke(cli, ["merge", *map(str, [*arguments, *texts])])
    assert shown.exit_code == 0, shown.stderr
    record = json.loads((tmp_path / "out" / "saltlm" / "manifest.json").read_text())
    assert record["kind"] == "merged"
    (told,) = record["merges"]
    curve = {float(weight): one for weight, one in told["bits_per_byte"].items()}
    assert list(curve) == [0, 0.25, 0.5, 0.75, 1]
    products = {weight: one["target"] * one["English"] for weight, one in curve.items()}
    assert told["weight"] == min(products, key=products.get)
    assert told["base"]["sha256"] == model_hash(models["base"])
    assert told["selected_on"]["documents"] == {"target": 3, "English": 3}
    assert f"linear, weight {told['weight']:g}" in shown.stdout
    assert shown.stdout.count("English ") == 5
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("# Mine\n\n<!-- saltlm merge -->\n## Merge\n\nMerged with ")
    assert "the weight was chosen on held-out text" in card
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("adapted", "de.txt", "en.txt", "out")
    ]
    again = saltlm.merge(models["base"], tmp_path / "out", tmp_path / "again", weight=1.0)
    one, two = (tmp_path / n / "model.safetensors" for n in ("out", "again"))
    assert one.read_bytes() == two.read_bytes()
    assert again.bits_per_byte == {}
    record = json.loads((tmp_path / "again" / "saltlm" / "manifest.json").read_text())
    assert [one["weight"] for one in record["merges"]] == [told["weight"], 1.0]
    assert (tmp_path / "again" / "README.md").read_text().count("Merged with ") == 2


def test_of_two_equal_weights_the_nearer_one_to_the_adapted_model_is_taken():
    curve = {0.0: {"a": 1.0, "b": 2.0}, 1.0: {"a": 2.0, "b": 1.0}, 0.5: {"a": 2.0, "b": 1.5}}
    assert best_weight(curve) == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "ties"}, "there is no --method ties\nhint: known: linear, slerp, chat-vector"),
        ({"shared": "mean"}, "there is no --shared mean"),
        ({"weight": 1.5}, "a weight of 1.5: 0 is BASE and 1 is ADAPTED"),
        ({"ends": "0.5,x"}, "--ends '0.5,x': could not convert string to float: 'x'"),
        ({"method": "chat-vector"}, "--method chat-vector needs --pretrained"),
        ({"pretrained": "x"}, "--method chat-vector needs --pretrained, and no other"),
        ({"select": True}, "--select needs --heldout and --english"),
        ({"heldout": "x.txt"}, "--select needs --heldout and --english, and only it does"),
        ({"select": True, "weight": 0.5}, "--select chooses the weight, so it cannot be 0.5"),
    ],
)
def test_options_that_do_not_fit(tmp_path, options, message):
    with pytest.raises(ConfigError) as error:
        saltlm.merge("base", "adapted", tmp_path / "out", **options)
    assert str(error.value).startswith(message)
    if flags := re.search(r"--\w.*", error.value.hint):  # read by the command, and fit together
        words = ["BASE", "ADAPTED", "--out", "DIR", *flags[0].removeprefix("--out DIR ").split()]
        with pytest.raises(SaltlmError) as error:
            cli.main(["merge", *words], standalone_mode=False)
        assert not isinstance(error.value, ConfigError)  # but for the models, and their texts


def test_models_that_do_not_fit_and_places_that_are_taken(models, tmp_path):
    deeper = save_model(tmp_path / "deeper", is_tied=False, num_hidden_layers=3)
    out = tmp_path / "out"
    with pytest.raises(CheckpointError, match=r"layers\.2\.\S+ \[\S+\] is not in .*base: the two"):
        saltlm.merge(models["base"], deeper, out)
    wider = save_model(tmp_path / "wider", is_tied=False, intermediate_size=24)
    with pytest.raises(CheckpointError, match=r"is \[16, 16\] in .*base: the two are not of one"):
        saltlm.merge(models["base"], wider, out)
    packed = shutil.copytree(models["base"], tmp_path / "packed")
    config = json.loads((packed / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (packed / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="packed is quantised, so its weights cannot be merg"):
        saltlm.merge(packed, models["adapted"], out)
    with pytest.raises(DataError, match=r"no\.txt does not exist"):
        merged(models, out, select=True, heldout=tmp_path / "no.txt", english=tmp_path / "no.txt")
    with pytest.raises(OutputError, match="deeper exists"):
        merged(models, deeper)
    assert not out.exists()
    assert not list(tmp_path.glob(".*"))
