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
        "in another language": 0,
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


@pytest.mark.parametrize("n_foreign", [3, 60])
def test_another_language_is_told_by_the_words_that_are_common(split, n_foreign):
    """Also where its own are among the commonest of the corpus; short texts are not judged."""
    draw = random.Random(1)
    words = ["le", "chien", "est", "dans", "un", "jardin", "sous", "la", "ville", "avec"]
    foreign = [" ".join(draw.choices(words, k=14)) for _ in range(n_foreign)]
    short = ["le chien est dans un jardin"]
    rows = sentences(150)
    found, train, heldout = split([*rows, *foreign, *short])
    assert found.dropped["in another language"] == n_foreign
    assert sorted(train + heldout) == sorted([*rows, *short])


def test_a_text_that_is_english_is_refused(split):
    draw = random.Random(0)
    words = ["the", "cat", "of", "a", "dog", "and", "to", "be", "in", "it", "was", "for", "rain"]
    rows = [" ".join(draw.choices(words, k=14)) for _ in range(60)]
    with pytest.raises(DataError, match=r"of the 80 documents of .* 60 are English") as told:
        split([*rows, *sentences(20)])
    assert "give --corpus text of the language, or name the language english" in told.value.hint
    assert split(rows, is_english=True)[0].n_heldout == 6


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


def test_too_little_text_is_named_with_its_option_and_what_is_gone(split):
    found = (
        r"of the 4 documents of .*text\.jsonl 3 are left \(left out: 1 near-duplicates\), too few"
    )
    with pytest.raises(DataError, match=found) as told:
        split([*sentences(3), sentences(1)[0]], option="--english")
    assert told.value.hint.startswith("give --english more text: at least some hundred documents")


def test_text_without_spaces_is_compared_by_its_characters(split):
    draw = random.Random(0)
    letters = "ひらがなのもじカタカナー漢字日本語東京学校水火木金土"
    rows = ["".join(draw.choices(letters, k=60)) + "。" for _ in range(100)]
    found, train, heldout = split([*rows, "…" + rows[3]])
    assert found.script == "CJK"
    assert {name: count for name, count in found.dropped.items() if count} == {"near-duplicates": 1}
    assert sorted(train + heldout) == sorted(rows)
