"""The report as a file: self-contained, escaped, the same every time."""

import base64
import hashlib
import html.parser
import json
import re
import shutil
import xml.etree.ElementTree as ET

import pytest

import saltlm
from report_files import write_comparison, write_evaluation, write_run
from saltlm.errors import CheckpointError, OutputError
from saltlm.files.markdown import as_markdown
from saltlm.inspection.report.page import direction_of, joined
from saltlm.inspection.report.report import report

HOSTILE = "<b>x</b>\"'&<!--</script>|`*"


class Page(html.parser.HTMLParser):
    """The tags of a page, and the text between them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self._open = [], {}, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._open.append(tag)

    def handle_data(self, data):
        self.texts.setdefault(self._open[-1] if self._open else "", []).append(data)

    def values(self, tag, name):
        return [
            attributes[name]
            for found, attributes in self.tags
            if found == tag and name in attributes
        ]


@pytest.fixture(scope="module")
def whole(model, tmp_path_factory):
    """A report of everything that can be saved."""
    out = tmp_path_factory.mktemp("whole")
    shutil.copytree(model, out / "cmp" / "salt")
    write_comparison(out / "cmp", "salt")
    write_run(out / "run")
    write_evaluation(out / "ev", "llm", str(model))
    return report([out / "cmp", out / "ev", out / "run"], out / "report.html")


def test_every_section_is_there(whole):
    page = Page(whole.file.read_text(encoding="utf-8"))
    sections = ["glance", "vocabulary", "explain", "geometry", "training", "evaluation", "record"]
    assert page.values("section", "id") == sections
    assert page.values("a", "href") == ["#glance", *(f"#{name}" for name in sections)]
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.tags:
        for name in ("aria-labelledby", "aria-controls", "for"):
            assert name not in attributes or attributes[name] in ids
    assert whole.n_bytes == whole.file.stat().st_size < 5_000_000
    assert [one.partition(":")[0] for one in whole.warnings] == ["Weak small model", "Few anchors"]


def test_nothing_is_fetched_and_only_our_own_script_may_run(whole):
    text = whole.file.read_text(encoding="utf-8")
    page = Page(text)
    (policy,) = [c for c in page.values("meta", "content") if "default-src" in c]
    hashes = {}
    for kind in ("style", "script"):
        (inside,) = re.findall(f"<{kind}>(.*?)</{kind}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        hashes[kind] = f"'sha256-{digest}'"
    assert policy == (
        f"default-src 'none'; style-src {hashes['style']}; script-src {hashes['script']};"
        " img-src data:; base-uri 'none'; form-action 'none'"
    )
    for tag, attributes in page.tags:
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href", "action", "data"):
            assert attributes.get(name, "#").startswith(("#", "data:,"))


def test_the_same_files_give_the_same_bytes(model, tmp_path):
    pages = [report(model, tmp_path / f"{n}.html").file.read_bytes() for n in "ab"]
    assert pages[0] == pages[1]


@pytest.fixture(scope="module")
def hostile(model, tmp_path_factory):
    """A model whose names and tokens would act on the page if they were not escaped."""
    directory = tmp_path_factory.mktemp("hostile") / "llm"
    shutil.copytree(model, directory)
    file = directory / "saltlm" / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["plm"]["name"] = HOSTILE
    manifest["notes"].append(HOSTILE)
    manifest["text"]["samples"] = [
        {"text": HOSTILE, "source": [HOSTILE, "\u202eabc"], "new": [HOSTILE], "ids": [7]}
    ]
    manifest["text"]["earners"][0]["token"] = HOSTILE
    file.write_text(json.dumps(manifest))
    return directory


def test_text_of_models_is_only_text(hostile, tmp_path):
    text = report(hostile, tmp_path / "r.html").file.read_text(encoding="utf-8")
    page = Page(text)
    assert not [tag for tag, _ in page.tags if tag == "b" and "class" in _]
    assert text.count("</script>") == 2
    assert "<!--" not in text
    assert text.count(HOSTILE) == 0
    shown = "".join(piece for pieces in page.texts.values() for piece in pieces)
    assert HOSTILE in shown


def test_markdown_shows_the_same_with_plots_beside_it(whole, hostile, tmp_path):
    out = whole.file.parent
    made = report([out / "cmp", out / "ev"], tmp_path / "card.md")
    text = made.file.read_text()
    assert "| trained | 1.750 | salt, 1,000 tokens |" in text.replace("\\", "")
    shown = re.findall(r"!\[[^]]*\]\(([^)]+)\)", text)
    assert shown == [file.name for file in made.plots]
    assert len(shown) > 8
    for file in made.plots:
        assert ET.fromstring(file.read_text()).find("{http://www.w3.org/2000/svg}style") is not None
    text = report(hostile, tmp_path / "hostile.md").file.read_text()
    assert as_markdown(HOSTILE) in text
    assert "<b>" not in text


def test_what_a_damaged_file_lacks_is_told(tmp_path):
    (tmp_path / "evaluation.json").write_text('{"schema": 1}')
    with pytest.raises(CheckpointError, match=f"{tmp_path} is damaged: KeyError: '\\w+'"):
        report(tmp_path, tmp_path / "r.html")


def test_sentences_run_in_their_own_direction():
    assert [direction_of(text) for text in ("1 Haus", "3 بيت", "בית", "12")] == [
        "ltr",
        "rtl",
        "rtl",
        "ltr",
    ]


def test_letters_stay_joined_where_a_word_is_cut():
    joiner = "\u200d"
    assert joined(["الكت", "اب", "␣جديد"]) == [f"الكت{joiner}", f"{joiner}اب", "␣جديد"]
    assert joined(["كَ", "تب"]) == [f"كَ{joiner}", f"{joiner}تب"]  # over a vowel mark
    assert joined(["Hau", "s"]) == ["Hau", "s"]


def test_a_directory_with_nothing_of_saltlm_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="saltlm has saved nothing in"):
        saltlm.report(tmp_path, tmp_path / "r.html")


def test_another_format_or_place_is_refused(model, tmp_path):
    with pytest.raises(OutputError, match=r"r\.pdf is neither \.html nor \.md\nhint: salt"):
        report(model, tmp_path / "r.pdf")
    with pytest.raises(OutputError, match="cannot be written: No such file or directory"):
        report(write_run(tmp_path / "run"), tmp_path / "no" / "r.html")
