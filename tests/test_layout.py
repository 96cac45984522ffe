"""Tables on narrow and wide terminals, in a pipe, and without colours: nothing is cut or broken."""

import re

import pytest

from saltlm.cli.render import finding_table, show, special_tokens_table, table
from saltlm.cli.render_runs import score_table
from saltlm.comparison.score import PairScores
from saltlm.inspection.finding import Finding
from saltlm.scoring.holdout import Interval, Score

NAMES = ["salt:ridge=1.0:centred=True", "global-residual:ridge=1.0", "focus"]
BROKEN = Score("wechsel", {}, error="it needs files")


@pytest.fixture
def shown(monkeypatch, capsys):
    """A function that returns what a table looks like on a terminal, or in a pipe (None)."""

    def shown(made, width, **environment):
        for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "TERM"):
            monkeypatch.delenv(name, raising=False)
        if width is not None:
            environment |= {"COLUMNS": str(width), "FORCE_COLOR": "1", "TERM": "xterm-256color"}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        show(made)
        return capsys.readouterr().out

    return shown


def scores(*more):
    values = [Interval(0.34, 0.335, 0.344), Interval(-1.041, -1.05, -1.032)]
    found = [
        Score(name, {}, value, None, *[Interval(0.5, 0.4, 0.6)] * 3, n_tokens=9, seconds=1.25)
        for name, value in zip(NAMES, [*values, values[0]], strict=True)
    ]
    return score_table(PairScores("source", "plm", 9, "the PLM's own rows", (*found, *more)))


def plain(text):
    return re.sub(r"\x1b\[[\d;]*m", "", text)


@pytest.mark.parametrize("width", [40, 60, 80, 200, None])
def test_no_name_is_cut_and_no_interval_broken(width, shown):
    text = plain(shown(scores(BROKEN), width))
    for whole in (*NAMES, "0.335 to 0.344", "-1.050 to -1.032"):
        assert whole in text
    assert "files" in text
    assert "…" not in text
    if width is not None:
        assert max(map(len, text.splitlines())) <= width


def test_a_ranking_stays_a_table_at_80_columns_and_says_what_it_lacks(shown):
    assert "(too narrow for: s; a wider" in plain(shown(scores(), 80))
    for width in (200, None):
        text = plain(shown(scores(), width))
        assert "retrieval" in text
        assert "too narrow" not in text


def test_a_pipe_is_as_wide_as_the_table(shown):
    long = "x" * 300
    assert f"{long}  1\n" in shown(table("t", ("a", "b"), [(long, 1)]), None)


def test_colours_only_where_they_are_wanted(shown):
    findings = [Finding("loads", "ok", "all"), Finding("generates", "failed", "a b")]
    assert "\x1b[32m" in shown(finding_table(findings), 80)
    assert "\x1b[3" not in shown(finding_table(findings), 80, NO_COLOR="1")
    assert "\x1b" not in shown(finding_table(findings), None)


def test_sentences_are_broken_between_words(shown):
    detail = " ".join(["words"] * 40)
    text = plain(shown(finding_table([Finding("a check", "warning", detail)]), 80))
    assert text.split().count("words") == 40


def test_special_tokens_of_a_kind_stand_together(shown):
    rows = [("bos", "<s>", 1, 1, "the source's row")]
    rows += [("", f"<reserved_{n}>", n, n, "the source's row") for n in range(5, 255)]
    text = shown(special_tokens_table(rows), None)
    assert "<reserved_6>" in text
    assert "and 248 more" in text
    assert len(text.splitlines()) == 7
