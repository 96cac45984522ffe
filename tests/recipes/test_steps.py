"""A step is done once; what it left is made again if it is gone, and refused if it was changed."""

import hashlib
import json

import pytest

from saltlm.adaptation.config import load_adapt_config
from saltlm.config.reading import read_values, validated
from saltlm.errors import CheckpointError, ConfigError
from saltlm.recipes.config import RecipeConfig
from saltlm.recipes.steps import Steps


@pytest.fixture
def do(tmp_path):
    """Do the step; return what it came to, and how it was told to begin if it was done."""
    (tmp_path / "model").mkdir()

    def do(**made_of):
        begun = []

        def work(resume):
            begun.append(resume)
            (tmp_path / "text").write_text("a text")
            (tmp_path / "model" / "config.json").write_text("{}")
            return {"said": "done"}

        return Steps(tmp_path, {}).do("one", made_of, work, ["text", "model", "none"]), begun

    return do


def test_a_step_is_done_once_and_again_of_other_things(do):
    first, begun = do(seed=1)
    assert (first["said"], begun) == ("done", ["auto"])
    assert do(seed=1) == (first, [])
    again, begun = do(seed=2)
    assert again["key"] != first["key"]
    assert begun == ["never"]


def test_what_was_changed_is_refused_with_both_hashes(do, tmp_path):
    do()
    (tmp_path / "text").write_text("another")
    old, new = (hashlib.sha256(text).hexdigest() for text in (b"a text", b"another"))
    with pytest.raises(CheckpointError, match=f"text was changed .*: SHA-256 was {old}, is {new}"):
        do()
    (tmp_path / "steps" / "one.json").unlink()  # as the hint says
    assert do()[1] == ["auto"]
    (tmp_path / "model" / "config.json").write_text("{ }")
    with pytest.raises(CheckpointError, match="model was changed since the step one made it"):
        do()


def test_what_is_gone_is_made_again(do, tmp_path):
    do()
    (tmp_path / "text").unlink()
    assert do()[1] == ["auto"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("adapt", "options of adapt are --set adapt.KEY=VALUE"),
        ("teacher", "options of teacher are --set pretrain.KEY=VALUE"),
        ("score", ""),
    ],
)
def test_a_steps_hint_says_how_a_recipe_is_given_its_options(tmp_path, name, told):
    def work(resume):
        raise ConfigError("too much", "--set micro_batch=2")

    with pytest.raises(ConfigError, match="too much") as caught:
        Steps(tmp_path, {}).do(name, {}, work)
    assert told in caught.value.hint
    assert ("in a recipe" in caught.value.hint) == bool(told)
    values = read_values(None, ["adapt.micro_batch=2"])
    config = validated(RecipeConfig, {"language": "x", "corpus": "a", "source": "b", **values})
    assert load_adapt_config(None, data="a", **config.adapt).micro_batch == 2


@pytest.mark.parametrize("damage", ["", "[]", "{}", "other"])
def test_a_damaged_record_is_none(do, tmp_path, damage):
    do()
    file = tmp_path / "steps" / "one.json"
    changed = json.dumps(json.loads(file.read_text()) | {"result": {"said": [1]}})
    file.write_text(changed if damage == "other" else damage)
    result, begun = do()
    assert (result["said"], begun) == ("done", ["auto"])
