"""What tools downstream trip over: each kind of damage is found by the check that is for it."""

import json
import shutil
from collections import namedtuple
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers import PreTrainedTokenizerFast as Fast

import saltlm.inspection.downstream
from saltlm.inspection.downstream import _generation_findings, handover_findings
from saltlm.tokenizer.definition import Definition
from saltlm.vocabulary_transfer.write_model import conversion_note
from tiny_pairs import make_model

CHECKS = [
    "tokenizer_class",
    "config.json for older readers",
    "generation_config is consistent",
    "padding_idx is the pad token",
    "chat template renders",
    "each chat marker is one token",
    "generates",
    "vocabulary in llama.cpp",
    "weights saved again are the same bytes",
    "weights saved again have their names and dtypes",
    "tied flag saved again",
    "tokenizer saved again is the same",
]
LLAMA_CPP = "vocabulary in llama.cpp"
NO_TOKENIZER = "llama.cpp has no tokenizer for a"


@pytest.fixture(autouse=True)
def _random_models_may_repeat_themselves(monkeypatch):
    monkeypatch.setattr("saltlm.inspection.downstream._LEAST_KINDS", 0)


@pytest.fixture(scope="module")
def sound(tokenizers_by_family, tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("sound"), tokenizers_by_family)


@pytest.fixture
def copy(sound, tmp_path):
    """A copy of the sound directory, to be damaged."""
    return shutil.copytree(sound, tmp_path / "copy")


def findings(directory):
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype="auto")
    return list(handover_findings(directory, tokenizer, model))


def bad(directory):
    found = {f.check: (f.outcome, f.detail) for f in findings(directory) if f.outcome != "ok"}
    assert found.pop(LLAMA_CPP) == ("warning", f"{NO_TOKENIZER} byte-level WordPiece of this kind")
    return found


def test_what_llama_cpp_makes_of_each_vocabulary(tokenizers_by_family, tmp_path):
    told = {}
    for family, tokenizer in tokenizers_by_family.items():
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        finding = saltlm.inspection.downstream._llama_cpp_finding(tmp_path)
        told[family] = finding.outcome, finding.detail
    assert told["bytelevel"] == ("ok", "gpt2, gpt-2")
    assert told["unigram"] == ("ok", "t5, default")
    assert told["wordpiece"][0] == "warning"
    for family in ("sentencepiece", "metaspace"):
        assert told[family][0] == "warning"
        assert told[family][1] == f"{NO_TOKENIZER} BPE of this kind"
    table = Definition.of(tokenizers_by_family["unigram"]).replace(
        normalizer={"type": "Precompiled", "precompiled_charsmap": "BAAAAGFiY2QA"}
    )
    (tmp_path / "tokenizer.json").write_text(json.dumps(table.json))
    finding = saltlm.inspection.downstream._llama_cpp_finding(tmp_path)
    assert (finding.outcome, "it keeps marks on letters" in finding.detail) == ("warning", True)


def edit(file, **changes):
    values = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


def test_what_a_converter_has_to_know_is_in_the_card(sound, tokenizers_by_family):
    note = "(WordPiece, pre-tokenizer Metaspace, Split, ByteLevel); before a conversion to GGUF"
    assert note in (sound / "README.md").read_text()
    assert "(BPE, pre-tokenizer ByteLevel)" in conversion_note(
        Definition.of(tokenizers_by_family["bytelevel"])
    )
    assert "(BPE, pre-tokenizer none)" in conversion_note(
        Definition.of(tokenizers_by_family["sentencepiece"])
    )
    parts = "(Unigram, pre-tokenizer WhitespaceSplit, Metaspace)"
    assert parts in conversion_note(Definition.of(tokenizers_by_family["unigram"]))


def test_a_sound_model_passes(sound):
    assert [f.check for f in findings(sound)] == CHECKS
    assert bad(sound) == {}


def test_a_model_that_repeats_itself_is_told(sound, monkeypatch):
    monkeypatch.setattr("saltlm.inspection.downstream._LEAST_KINDS", 17)
    assert bad(sound) == {"writes text": ("warning", "it repeats itself: saltlm adapt trains it")}


def test_a_model_that_ends_at_once_is_told(sound):
    """A chat model may do so where it is asked without its template; others write no text."""
    tokenizer = AutoTokenizer.from_pretrained(sound)
    ending = torch.tensor([[tokenizer.eos_token_id]])
    model = SimpleNamespace(
        eval=lambda: model, generate=lambda input_ids, **_: torch.cat([input_ids, ending], 1)
    )
    (told,) = _generation_findings(tokenizer, model)
    assert (told.outcome, told.detail.partition(": ")[2]) == (
        "ok",
        "it ends at once when it is asked without the chat template",
    )
    tokenizer.chat_template = None
    _, advice = _generation_findings(tokenizer, model)
    assert (advice.outcome, advice.detail) == (
        "warning",
        "it ends at once: saltlm adapt trains it",
    )


def test_a_base_model_has_no_chat_template(copy):
    (copy / "chat_template.jinja").unlink()
    assert [f.check for f in findings(copy)] == CHECKS[:4] + CHECKS[6:]


@pytest.mark.parametrize(
    ("file", "changes", "check", "detail"),
    [
        ("tokenizer_config.json", {"tokenizer_class": None}, 0, "names none"),
        ("tokenizer_config.json", {"tokenizer_class": "NoTokenizer"}, 0, "has no NoTokenizer"),
        (
            "config.json",
            {"rope_theta": None, "rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}},
            1,
            "no rope_theta: transformers 4, mlx-lm and CTranslate2 read rotary",
        ),
        ("generation_config.json", {"do_sample": False, "temperature": 0.3}, 2, "temperature"),
        ("config.json", {"pad_token_id": 5}, 3, "padding_idx 5, pad token 6"),
    ],
)
def test_settings(file, changes, check, detail, copy):
    tokenizer = AutoTokenizer.from_pretrained(copy)
    edit(copy / "tokenizer_config.json", pad_token=tokenizer.convert_ids_to_tokens(6))
    edit(copy / file, **changes)
    outcome, seen = bad(copy)[CHECKS[check]]
    assert outcome == "warning"
    assert detail in seen


@pytest.mark.parametrize(
    ("template", "found"),
    [
        ("{{ raise_exception('no turns') }}", ("failed", "TemplateError: no turns")),
        ("{% for m in messages %}{{ m }", ("failed", "TemplateSyntaxError")),
        ("{% for m in messages %}<|im_start|>{% endfor %}", ("failed", "'<|im_start|>'")),
    ],
)
def test_a_template_that_does_not_say_what_it_is_given(template, found, copy):
    (copy / "chat_template.jinja").write_text(template)
    outcome, detail = bad(copy)["chat template renders"]
    assert outcome == found[0]
    assert detail.startswith(found[1])


def test_a_marker_that_is_no_token_of_this_vocabulary(copy):
    template = "{% for m in messages %}<|im_start|><|user|>{{ m['content'] }}{% endfor %}"
    (copy / "chat_template.jinja").write_text(template)
    outcome, detail = bad(copy)["each chat marker is one token"]
    assert outcome == "warning"
    assert detail.startswith("<|user|> is ")


def edit_tensors(directory, change):
    tensors = load_file(directory / "model.safetensors")
    change(tensors)
    save_file(tensors, directory / "model.safetensors", {"format": "pt"})


def test_a_row_without_a_token_that_the_model_writes(copy):
    def add_two_long_rows(tensors):
        table = tensors["model.embed_tokens.weight"]
        row = 1e4 * torch.ones(1, table.shape[1])
        tensors["model.embed_tokens.weight"] = torch.cat([table, row, -row])

    edit_tensors(copy, add_two_long_rows)
    size = json.loads((copy / "config.json").read_text())["vocab_size"]
    edit(copy / "config.json", vocab_size=size + 2)
    outcome, detail = bad(copy)["generates"]
    assert outcome == "failed"
    assert detail.startswith(f"ids without a token: [{size}")


def test_a_tensor_of_another_dtype_does_not_stay_so(copy):
    def halve(tensors):
        tensors["model.norm.weight"] = tensors["model.norm.weight"].half()

    edit_tensors(copy, halve)
    found = {CHECKS[9]: ("warning", "model.norm.weight in another dtype")}
    assert bad(copy) == found


def break_weights(model, directory, save):
    model.model.norm.weight.data[0] += 1
    save(model, directory)


def break_names(model, directory, save):
    save(model, directory)
    edit_tensors(directory, lambda tensors: tensors.update(extra=tensors.pop("model.norm.weight")))


def break_tying(model, directory, save):
    save(model, directory)
    edit(directory / "config.json", tie_word_embeddings=False)


@pytest.mark.parametrize(
    ("breaks", "expected"),
    [
        (break_weights, {CHECKS[8]: ("failed", "model.norm.weight")}),
        (break_names, {CHECKS[9]: ("warning", "model.norm.weight lost, extra added")}),
        (break_tying, {CHECKS[10]: ("failed", "tie_word_embeddings true, saved again false")}),
    ],
)
def test_a_model_that_is_saved_as_another(breaks, expected, sound, monkeypatch):
    save = PreTrainedModel.save_pretrained
    monkeypatch.setattr(
        PreTrainedModel, "save_pretrained", lambda model, to, **_: breaks(model, to, save)
    )
    assert bad(sound) == expected


def test_a_tokenizer_that_is_saved_as_another(sound, monkeypatch):
    save = Fast.save_pretrained

    def break_template(tokenizer, directory):
        save(tokenizer, directory)
        (directory / "chat_template.jinja").write_text("{{ messages }}")

    monkeypatch.setattr(Fast, "save_pretrained", break_template)
    assert bad(sound) == {CHECKS[11]: ("failed", "other chat template")}


def test_without_room_nothing_is_saved(sound, monkeypatch):
    disk = namedtuple("Disk", "free")(10**3)
    monkeypatch.setattr(saltlm.inspection.downstream.shutil, "disk_usage", lambda _: disk)
    monkeypatch.setattr(PreTrainedModel, "save_pretrained", None)
    assert bad(sound)["saved again"][1].startswith("not tried: 0.0 GB needed, 0.0 GB free in")
