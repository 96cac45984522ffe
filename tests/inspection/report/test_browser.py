"""The page in a real browser: make browser."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from browser import CHROMIUM, Browser
from report_files import write_comparison, write_evaluation, write_run
from saltlm.inspection.explain import explain
from saltlm.inspection.report.content import content_of
from saltlm.inspection.report.page import page_of
from saltlm.inspection.report.report import report
from saltlm.inspection.report.saved import read_saved_files
from saltlm.inspection.report.tokens import TokenTable, columns_of, read_token_table
from saltlm.inspection.report.watch import watch
from saltlm.methods.linear import no_fit
from saltlm.methods.neighbours import no_neighbours
from saltlm.record.provenance import Provenance
from saltlm.tokenizer.vocabulary import Vocabulary

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def page(model, tmp_path_factory):
    """A report of everything that can be saved."""
    out = tmp_path_factory.mktemp("page")
    shutil.copytree(model, out / "cmp" / "salt")
    write_comparison(out / "cmp", "salt")
    write_evaluation(out / "ev", "llm", str(model))
    return report([out / "cmp", out / "ev"], out / "report.html").file


@pytest.fixture(scope="module")
def names(model):
    """The tokens of the model as people see them, without the space before them."""
    table = read_token_table(read_saved_files([model])[0])
    return [name.removeprefix("␣") for name in table.names]


def first_with(names, letters):
    """Return the longest token of some letters, one of which is not of every language."""
    found = [n for n in names if set(letters) & set(n) and n.isalpha()]
    return max(found, key=len)


def test_nothing_is_fetched_and_nothing_is_wrong(browser, page):
    for width, is_dark in ((1200, False), (390, True)):
        browser.open(page.as_uri(), width, dark=is_dark)
        assert browser.run("document.documentElement.scrollWidth") == width  # nothing sticks out
        browser.screenshot(page.with_name(f"{width}.png"))
        assert page.with_name(f"{width}.png").stat().st_size > 10_000
    browser.print(page.with_suffix(".pdf"))
    assert page.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    assert browser.errors == []
    assert set(browser.asked) == {page.as_uri()}


@pytest.mark.parametrize(
    "letters", ["äöüß", "ءابتجحدرسعفقكلمنهوي", "ăđơưạảấầệộ"], ids=["de", "ar", "vi"]
)
def test_a_token_is_found_and_explained_by_keyboard_alone(browser, page, names, model, letters):
    browser.open(page.as_uri())
    wanted = first_with(names, letters)
    for _ in range(60):
        browser.press("Tab", 9)
        if browser.run("document.activeElement.id") == "search":
            break
    browser.type(wanted)
    browser.wait_until("document.querySelector('#found [aria-selected=true]')")
    assert browser.run("document.getElementById('search').ariaExpanded") == "true"
    browser.press("ArrowDown", 40)
    browser.press("ArrowUp", 38)
    browser.press("Enter", 13)
    browser.wait_until("document.querySelector('#explained h3')")
    assert browser.run("document.querySelector('#explained bdi').textContent").endswith(wanted)
    id = int(browser.run("location.hash").removeprefix("#token-"))
    (told,) = explain(model, f"#{id}")
    cells = (
        "[...document.querySelectorAll('#explained tbody td.n')].map((cell) => cell.textContent)"
    )
    shown = [float(text.replace("−", "-")) for text in browser.run(cells)]
    expected = [influence.coefficient for influence in told.influences[:8]]
    assert shown == pytest.approx(expected, rel=2e-3, abs=6e-4)
    direction = browser.run("getComputedStyle(document.getElementById('search')).direction")
    assert direction == ("rtl" if "ا" in letters else "ltr")
    assert browser.errors == []


def test_the_screen_reader_is_told_in_order(browser, page):
    browser.open(page.as_uri())
    nodes = browser.tree()
    role = {node["nodeId"]: node.get("role", {}).get("value") for node in nodes}
    named = [(role[n["nodeId"]], n.get("name", {}).get("value", "")) for n in nodes]
    assert ("combobox", "Token") in named
    sections = [name for kind, name in named if kind == "heading"]
    order = ["At a glance", "Vocabulary", "Explain a token", "Geometry", "Training", "Evaluation"]
    assert [name for name in sections if name in order] == order
    pictures = [name for kind, name in named if kind in ("image", "img", "graphics-document")]
    assert len(pictures) > 8
    assert all(pictures)


def test_the_map_zooms_by_keyboard_and_names_what_is_seen(browser, page):
    browser.open(page.as_uri())
    browser.run("document.querySelector('.map-frame').focus()")
    before = browser.run("document.querySelector('.map').getAttribute('viewBox')")
    browser.press("+")
    after = browser.run("document.querySelector('.map').getAttribute('viewBox')")
    assert float(after.split()[2]) == pytest.approx(0.7 * float(before.split()[2]))
    assert browser.run("document.querySelectorAll('.names text').length") > 5
    browser.press("0")
    assert browser.run("document.querySelector('.map').getAttribute('viewBox')") == before
    assert browser.errors == []


def test_text_of_a_model_does_nothing(browser, model, tmp_path):
    hostile = "<b>\"'&</script>\u202e"
    directory = shutil.copytree(model, tmp_path / "llm")
    file = directory / "saltlm" / "manifest.json"
    manifest = json.loads(file.read_text())
    sample = {"text": hostile, "source": [hostile], "new": [hostile], "ids": [7]}
    manifest["text"]["samples"] = [sample]
    manifest["source"]["name"] = manifest["notes"][0] = hostile
    file.write_text(json.dumps(manifest))
    browser.open(report(directory, tmp_path / "r.html").file.as_uri())
    assert browser.run("document.querySelector('.sample .chip').textContent") == hostile
    assert hostile in browser.run("document.querySelector('h1').textContent")
    assert browser.run("document.querySelectorAll('main b').length") == browser.run(
        "document.querySelectorAll('.cards b').length"
    )
    assert browser.errors == []


def test_of_256000_tokens_one_is_found_at_once(browser, tmp_path):
    size = 256_000
    names = [f"␣token{id:x}" if id % 3 else f"wort{id:x}" for id in range(size)]
    ids = torch.arange(size)
    empty = torch.zeros(0, dtype=torch.int64)
    origin = torch.zeros(size, dtype=torch.uint8)
    record = Provenance(
        *(origin, ids, ids, empty, empty, empty, empty, no_neighbours(0), no_fit(0)), torch.zeros(0)
    )
    columns = columns_of(TokenTable(Vocabulary((), (), b"", "", {}), names, record))
    content = replace(content_of([]), title="large", columns=columns, origins=["shared"] * size)
    file = tmp_path / "large.html"
    file.write_text(page_of(content), encoding="utf-8")
    browser.open(file.as_uri())
    last = size - 1  # 255,999 = 3 * 85,333
    found, milliseconds = browser.run(f"""table().then((tokens) => {{
        const began = performance.now();
        return [find(tokens, "{names[last]}")[0], performance.now() - began];
    }})""")
    assert found == last
    assert milliseconds < 200
    assert browser.errors == []


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_watched_page_grows_by_itself(browser, tmp_path):
    write_run(tmp_path / "run", steps=2)
    browser.asked.clear()
    with watch(tmp_path / "run", port=0) as watched:
        browser.open(watched.url)
        assert "2,000 tokens" in browser.run("document.body.textContent")
        browser.run("new Promise((done) => setTimeout(done, 2500))")  # it has seen this version
        shutil.rmtree(tmp_path / "run")
        write_run(tmp_path / "run", steps=4)
        browser.wait_for_event("Page.loadEventFired")
        assert "4,000 tokens" in browser.run("document.body.textContent")
        assert browser.errors == []
        assert all(url.startswith(watched.url) for url in browser.asked)
        browser.open("about:blank")
