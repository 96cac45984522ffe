"""The source of an adapted model, measured beside it."""

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from adapt_models import save_model
from conftest import CORPUS
from saltlm.adaptation import untouched
from saltlm.adaptation.config import AdaptConfig
from saltlm.adaptation.result import AdaptResult
from saltlm.evaluation.bits_per_byte import bits_per_byte


def test_the_source_is_measured_if_it_is_there_and_loads(tmp_path, monkeypatch):
    source, text = save_model(tmp_path / "model"), tmp_path / "de.txt"
    text.write_text("\n".join(CORPUS[:3]))
    result = AdaptResult(tmp_path, 1, 1, 0.0, {}, context=16, documents=2)
    config = AdaptConfig(data={str(text): None}, heldout={"target": text})
    manifest = {"source": {"name": str(source)}, "adaptations": [{}]}
    monkeypatch.setattr(untouched, "model_card", lambda _, record: str(record["adaptations"]))
    monkeypatch.setattr(untouched, "read_manifest", lambda _: manifest)
    model = AutoModelForCausalLM.from_pretrained(source).eval()
    tokenizer = AutoTokenizer.from_pretrained(source)
    expected = bits_per_byte(model, tokenizer, CORPUS[:2], context=16, stride=8).value
    found = untouched.measure_untouched(result, config)
    assert found == {"target": pytest.approx(expected)}
    assert (tmp_path / "README.md").read_text() == str([{"untouched": found}])
    (source / "model.safetensors").write_bytes(b"cut off")
    assert untouched.measure_untouched(result, config) == {}
    manifest.clear()
    assert untouched.measure_untouched(result, config) == {}
