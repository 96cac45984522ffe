"""The directory of an adapted model: what lies beside the weights, and what its flags say."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from adapt_models import save_model
from saltlm.adaptation.run_folder import RunFolder
from saltlm.adaptation.write_model import copy_settings, write_adapted

BESIDE = {
    "additional_chat_templates/tool_use.jinja": "{{ messages }} {# tools #}\r\n",
    "chat_template.jinja": "{{ messages }}",
    "preprocessor_config.json": '{"size":  28}',
    "generation_config.json": '{"do_sample":   true}',
    "LICENSE.txt": "free\r\n",
}


@pytest.mark.parametrize("has_two_tables", [False, True])
def test_all_that_lies_beside_the_weights_comes_along(tmp_path, has_two_tables):
    source, out = save_model(tmp_path / "model", is_tied=True), tmp_path / "out"
    for name, content in BESIDE.items():
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(content.encode())
    for folder in ("saltlm", "additional_chat_templates"):  # of an earlier end of this run
        (out / folder).mkdir(parents=True)
    model = AutoModelForCausalLM.from_pretrained(source)
    if has_two_tables:
        model.lm_head.weight = torch.nn.Parameter(2 * model.lm_head.weight.detach())
    write_adapted(model, source, RunFolder(out), {}, loader=AutoModelForCausalLM)
    assert {name: (out / name).read_bytes().decode() for name in BESIDE} == BESIDE
    said = json.loads((out / "config.json").read_text())["tie_word_embeddings"]
    assert said is not has_two_tables
    loaded = AutoModelForCausalLM.from_pretrained(out)
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)
    if not has_two_tables:
        assert (out / "config.json").read_bytes() == (source / "config.json").read_bytes()


@pytest.mark.parametrize("with_code", [False, True])
def test_all_but_weights_is_copied_and_code_if_it_is_trusted(tmp_path, with_code):
    source, out = tmp_path / "source", tmp_path / "out"
    out.mkdir()
    template = "additional_chat_templates/tool.jinja"
    for name in ("config.json", "model.safetensors", "modeling.py", template):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name)
    copy_settings(source, out, with_code=with_code)
    found = {str(file.relative_to(out)) for file in out.rglob("*") if file.is_file()}
    assert found == {"config.json", template} | ({"modeling.py"} if with_code else set())
