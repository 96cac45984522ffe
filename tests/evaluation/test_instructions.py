"""Rules that an answer keeps or breaks, and the file that they come from."""

import pytest

from saltlm.errors import ConfigError
from saltlm.evaluation.instructions import Instruction, read_instructions


@pytest.mark.parametrize(
    ("rules", "kept", "broken"),
    [
        ({"contains": "Paris"}, "It is PARIS.", "It is Lyon."),
        ({"contains": ["hot", "warm"]}, "Warm!", "Cold."),
        ({"without": "z"}, "A dog.", "A dog in a zoo."),
        ({"begins": "yes"}, ' "Yes", it is.', "Well, yes."),
        ({"ends": ["goodbye", "goodbye."]}, "Hello. Goodbye.\n", "Goodbye, and hello."),
        ({"words": (2, 3)}, "one two three", "one"),
        ({"lines": 3}, "red\n\n green\nblue\n", "red, green, blue"),
        ({"number": 12}, "The answer is 12.", "7 plus 5 is 12"),
        ({"number": 1.5}, "1,5", "15"),
        ({"case": "upper"}, "HOUSE", "House"),
        ({"case": "lower"}, "house", "House"),
        ({"json": True}, '```json\n{"a": 1}\n```', '{"a": 1'),
        ({"json": True}, "[1]", "12"),
        ({"contains": "a", "words": (1, 1)}, "a", "a b"),
        ({"without": "z"}, "a", " \n"),  # an empty answer keeps no rule
    ],
)
def test_a_rule_is_kept_or_broken(rules, kept, broken):
    instruction = Instruction(ask="?", **rules)
    assert instruction.is_followed(kept)
    assert not instruction.is_followed(broken)


def test_the_own_file_has_four_languages_and_no_instruction_is_followed_by_its_echo():
    found = read_instructions(None)
    assert set(found.by_language) == {"en", "de", "vi", "ar"}
    for probes in found.by_language.values():
        assert len({probe.ask for probe in probes}) == len(probes) >= 10
        echoed = [probe.ask for probe in probes if probe.is_followed(probe.ask)]
        assert len(echoed) <= 2  # "repeat exactly", and the dog


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("en: [{ask: a}]", "the instruction 'a' has no rule"),
        ("en: [{ask: a, contain: b}]", "contain"),
        ("- a", "holds a list, not options"),
    ],
)
def test_a_file_that_is_wrong(tmp_path, text, message):
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_instructions(tmp_path / "own.yaml")


def test_a_language_that_is_not_there(tmp_path):
    (tmp_path / "own.yaml").write_text("sw: [{ask: Habari, words: [1, 9]}]")
    own = read_instructions(tmp_path / "own.yaml")
    assert own.of("sw")[0].ask == "Habari"
    with pytest.raises(
        ConfigError, match="there are instructions in sw, and none in en\nhint: give"
    ):
        own.of("en")
