"""What is left out of a corpus, and that nothing of the held-out part is in the other."""

import json
import random

import pytest

from saltlm.errors import DataError
from saltlm.recipes.corpus import split_corpus

WORDS = [
    "haus",
    "hund",
    "katze",
    "wald",
    "fluss",
    "berg",
    "stadt",
    "regen",
    "sonne",
    "wind",
    "brot",
    "milch",
    "feld",
    "weg",
    "tag",
    "nacht",
]


def sentences(n, seed=0):
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=14)) for _ in range(n)]


def read(file):
    return [json.loads(line)["text"] for line in file.read_text().splitlines()]


@pytest.fixture
def split(tmp_path):
    def run(rows, **options):
        text = tmp_path / "text.jsonl"
        text.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
        found = split_corpus([text], tmp_path, **{"n_heldout": 20, "seed": 0, **options})
        return found, read(tmp_path / "train.jsonl"), read(tmp_path / "heldout.jsonl")

    return run


def test_every_document_is_in_one_part(split):
    rows = sentences(150)
    found, train, heldout = split(rows)
    assert sorted(train + heldout) == sorted(rows)
    assert (found.n_training, found.n_heldout) == (135, 15)
    assert found.dropped == {
        "near-duplicates": 0,
        "not in Latin script": 0,
        "English": 0,
        "leaks": 0,
    }
    assert found.training_bytes == sum(len(row) for row in train)
    assert split(rows)[2] == heldout
    assert split(rows, seed=1)[2] != heldout
    assert len(split(rows, n_heldout=3)[2]) == 3


def test_what_is_left_out(split):
    rows = sentences(200)
    near = [f"{row} ende" for row in rows[:40]]  # the same but for the end
    other = ["Это совсем другой язык и другая письменность"] * 3
    english = ["the house of the dog is in the field and it was on the way to the river"]
    found, train, heldout = split([*rows, *near, *other, *english])
    assert found.dropped["near-duplicates"] == 40
    assert found.dropped["not in Latin script"] == 3
    assert found.dropped["English"] == 1
    assert sorted(train + heldout) == sorted(rows)
    assert split([*rows, *english], is_english=True)[0].dropped["English"] == 0
    assert "40 near-duplicates, 3 not in Latin script, 1 English" in str(found)


def test_lines_that_recur_are_boilerplate(split):
    rows = [f"{row}\nAlle Rechte vorbehalten, Verlag {n}" for n, row in enumerate(sentences(100))]
    found, train, heldout = split(rows)
    assert found.boilerplate == 100
    assert not any("Verlag" in text for text in train + heldout)


def test_what_shares_much_with_the_training_text_is_not_held_out(split):
    """Of half the documents a third stands in another one: too little for a near-duplicate."""
    rows = sentences(150)
    halves = [
        f"{row} {' '.join(sentences(1, seed=n)[0].split() * 2)}" for n, row in enumerate(rows)
    ]
    found, train, heldout = split([*rows, *halves], n_heldout=30)
    assert found.dropped["leaks"] > 5
    assert found.n_training + found.n_heldout + sum(found.dropped.values()) == 300
    in_training = " | ".join(train)
    for text in heldout:
        assert " ".join(text.split()[:14]) not in in_training


def test_too_little_text_is_named_with_its_option(split):
    found = r"of the 3 documents of .*text\.jsonl 3 are left, too few to hold any out"
    with pytest.raises(DataError, match=found) as told:
        split(sentences(3), option="--english")
    assert told.value.hint.startswith("give --english more text: at least some hundred documents")


def test_text_without_spaces_is_compared_by_its_characters(split):
    draw = random.Random(0)
    letters = "ひらがなのもじカタカナー漢字日本語東京学校水火木金土"
    rows = ["".join(draw.choices(letters, k=60)) + "。" for _ in range(100)]
    found, train, heldout = split([*rows, "…" + rows[3]])
    assert found.script == "CJK"
    assert {name: count for name, count in found.dropped.items() if count} == {"near-duplicates": 1}
    assert sorted(train + heldout) == sorted(rows)
