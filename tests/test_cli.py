"""The command line: exit codes, messages, and what goes to which stream."""

import importlib
import json
import logging
import lzma
import os
import re
import subprocess
import sys

import pytest

from saltlm.cli.main import VERBS, main
from saltlm.cli.report import report_at_end
from saltlm.errors import CheckpointError, ConfigError
from tiny_pairs import contents, write_pair

# What scripts rely on: an option may be added, and none of these may go.
OPTIONS = {
    "inspect": {"--corpus", "--set", "--config", "--json"},
    "transfer": {
        "--out",
        "--aux",
        "--corpus",
        "--match",
        "--seed",
        "--set",
        "--config",
        "--force",
        "--trust-remote-code",
    },
    "explain": {"--top", "--json"},
    "check": {"--trust-remote-code", "--json"},
}


@pytest.fixture
def run(monkeypatch, capsys):
    """A function that runs a command in this process: exit code, stdout and stderr."""
    monkeypatch.delenv("SALTLM_DEBUG", raising=False)
    monkeypatch.setenv("TQDM_DISABLE", "")  # --quiet sets it; put back what was there

    def run(*arguments):
        monkeypatch.setattr(logging.root, "handlers", [])  # as in a process of its own
        logger = logging.getLogger("saltlm")
        level = logger.level
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as exit:
            code = exit.code
        finally:
            logger.setLevel(level)
        streams = capsys.readouterr()
        return code, streams.out, streams.err

    return run


@pytest.fixture(scope="module")
def pair(tokenizers_by_family, tmp_path_factory):
    return write_pair(tmp_path_factory.mktemp("pair"), tokenizers_by_family)


def subprocess_of(*arguments, **environment):
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "saltlm.cli.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def test_help_lists_the_verbs_and_how_they_are_used(run):
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    for verb, text in VERBS.items():
        assert f"{verb} " in out
        assert text in out
    assert "saltlm transfer meta-llama/Llama-3.2-1B deepset/gbert-base --out" in out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_an_example(verb, run):
    code, out, err = run(verb, "--help")
    assert (code, err) == (0, "")
    assert f"saltlm {verb} " in out.partition("\n")[2]
    command = importlib.import_module(f"saltlm.cli.{verb}").command
    first_line = command.help.strip().partition("\n")[0].strip()
    assert first_line == VERBS[verb]


@pytest.mark.parametrize("verb", OPTIONS)
def test_options_that_scripts_rely_on(verb):
    command = importlib.import_module(f"saltlm.cli.{verb}").command
    assert OPTIONS[verb] <= {option for item in command.params for option in item.opts}


def test_the_version(run):
    code, out, _ = run("--version")
    assert (code, out) == (0, "saltlm, version 0.1.0\n")


def test_threads_sleep_while_they_wait(run, monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    run("--version")
    assert os.environ["OMP_WAIT_POLICY"] == "active"  # what the user has set stays
    monkeypatch.delenv("OMP_WAIT_POLICY")
    done = subprocess_of("env", OMP_DISPLAY_ENV="true")
    assert done.returncode == 0
    assert re.search("OMP_WAIT_POLICY ?= ?'PASSIVE'", done.stderr)  # says the threads' library


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["transfr"], "No such command 'transfr'. Did you mean 'transfer'?"),
        (["zzz"], "No such command 'zzz'."),
        (["transfer", "a", "b"], "Missing option '--out'"),
        (["transfer", "a"], "Missing argument 'PLM'"),
        (["explain", "dir"], "Missing argument 'TOKEN...'"),
        (["check", "dir", "--jsn"], "Did you mean"),
        (["transfer", "a", "b", "--out", "c", "--seed", "x"], "'x' is not a valid integer"),
        (["transfer", "a", "b", "--out", "c", "--match", "exakt"], "'exakt' is not one of 'exact'"),
        (["compare", "a", "b", "--out", "c", "--methods", "d"], "Missing option '--heldout'"),
    ],
)
def test_wrong_usage_is_code_2(arguments, message, run):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("Did you mean") <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--set", "min_shard=3"],
            "error: there is no option 'min_shard'\nhint: did you mean min_",
        ),
        (["--set", "match=exakt"], "error: option match='exakt': Input should be 'exact', "),
        (["--config", "no.yaml"], "error: no.yaml cannot be read as YAML: "),
        (
            ["--aux", "word2vec:x"],
            "error: unknown auxiliary vectors 'word2vec:x'\nhint: --aux takes",
        ),
        (["--method", "slat"], "error: there is no method 'slat'\nhint: did you mean salt?"),
        (["--aux", "train"], "error: the corpus has no text (none was given)\nhint: "),
        ([], "error: ./no does not exist\nhint: check the path"),
    ],
)
def test_a_users_error_is_a_message_and_code_1(arguments, message, run, tmp_path):
    code, out, err = run("transfer", "./no", "./nor", "--out", tmp_path / "out", *arguments)
    assert (code, out) == (1, "")
    assert err.startswith(message)
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_debugging_shows_the_traceback(monkeypatch):
    arguments = ["transfer", "a", "b", "--out", "c", "--set", "x=1"]
    monkeypatch.setenv("SALTLM_DEBUG", "1")
    with pytest.raises(ConfigError, match="there is no option 'x'"):
        main(arguments)
    done = subprocess_of(*arguments, SALTLM_DEBUG="1")
    assert done.returncode == 1
    assert "Traceback (most recent call last)" in done.stderr
    done = subprocess_of(*arguments, SALTLM_DEBUG="")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: there is no option 'x'\nhint: ")
    assert "Traceback" not in done.stderr


def test_even_a_mistake_of_ours_is_no_traceback(run, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("saltlm.config.recommended.load_recommended", fail)
    code, _, err = run("inspect", "a", "b")
    assert code == 1
    assert err.startswith("error: ZeroDivisionError: division by zero\nhint: this should not")
    assert "SALTLM_DEBUG=1" in err


@pytest.mark.parametrize(
    ("arguments", "function", "said"),
    [
        ("inspect a b", "config.recommended.load_recommended", "nothing is half-written"),
        ("adapt . --data a --out b", "adaptation.config.load_adapt_config", "again continues"),
    ],
)
def test_who_interrupts_hears_what_is_left(run, monkeypatch, arguments, function, said):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"saltlm.{function}", interrupt)
    code, out, err = run(*arguments.split())
    assert (code, out) == (130, "")
    assert err.startswith("\nstopped: ")
    assert said in err


def test_transfer_then_explain_then_check(pair, tmp_path, run):
    before = contents(pair[0]), contents(pair[1])
    out_dir = tmp_path / "out"
    code, out, err = run("transfer", *pair, "--out", out_dir)
    assert code == 0
    assert "shared rows" in out
    assert "neighbours a token, median" in out
    assert "shared rows not shown (saltlm score takes all)" in out
    assert f"next: saltlm score {pair[0]} {pair[1]}\n" in err  # after a stop
    assert "verdict: stop: r2 -" in err
    assert "TransferResult(" not in out + err
    assert "sampled rows" not in out  # there are none
    page = out_dir / "saltlm" / "report.html"
    assert f"report: {page}" in err
    assert "source with the vocabulary of plm" in page.read_text()
    assert (contents(pair[0]), contents(pair[1])) == before

    code, out, err = run("transfer", *pair, "--out", out_dir)
    assert (code, out) == (1, "")
    assert err == (
        f"error: {out_dir} exists\nhint: choose another --out, or replace it with --force\n"
    )
    code, out, err = run("--quiet", "transfer", *pair, "--out", out_dir, "--force", "--no-report")
    assert (code, err) == (0, "")
    assert "shared rows" in out
    assert not page.exists()
    code, out, err = run("report", out_dir, "--out", tmp_path / "r.md")
    assert (code, err) == (0, "")
    assert out.startswith(f"{tmp_path / 'r.md'}: 0.0 MB")

    code, out, _ = run("explain", out_dir, "Fuchs", "--top", 2)
    assert code == 0
    assert "token" in out
    code, out, err = run("explain", out_dir, "Fuchs", "#0", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found[-1]["id"] == 0
    assert {"token", "origin", "influences"} <= found[0].keys()
    code, out, err = run("explain", out_dir, "#99999999")
    assert (code, out) == (1, "")
    assert err.startswith("error: #99999999 is beyond the ")

    code, out, _ = run("check", out_dir)
    assert code == 0
    assert "forward pass" in out
    assert "failed" not in out
    (out_dir / "tokenizer.json").unlink()
    code, out, _ = run("check", out_dir, "--json")
    assert code == 1
    detail = f"{out_dir} has no tokenizer.json; save it there with tokenizer.save_pretrained()"
    assert json.loads(out)[-1] == {"check": "readable", "outcome": "failed", "detail": detail}


def test_a_report_that_fails_takes_nothing_with_it(tmp_path, caplog, monkeypatch):
    monkeypatch.delenv("SALTLM_DEBUG", raising=False)
    report_at_end([tmp_path], tmp_path / "r.html", is_wanted=True)
    assert "no report was written: saltlm has saved nothing in" in caplog.text
    monkeypatch.setenv("SALTLM_DEBUG", "1")
    report_at_end([tmp_path], tmp_path / "r.html", is_wanted=False)
    with pytest.raises(CheckpointError):
        report_at_end([tmp_path], tmp_path / "r.html", is_wanted=True)


def test_watch_says_where_and_ends_when_interrupted(run, tmp_path, monkeypatch):
    class Watched:
        url = "http://127.0.0.1:1/"

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.is_closed = True

        def wait(self):
            raise KeyboardInterrupt

    watched = Watched()
    monkeypatch.setattr("saltlm.inspection.report.watch.watch", lambda *_, port: watched)
    code, out, err = run("watch", tmp_path)
    assert (code, out, err) == (130, "http://127.0.0.1:1/  (Ctrl-C ends it)\n", "")
    assert watched.is_closed


def test_inspect_prints_tables_and_json(pair, tmp_path, run):
    (tmp_path / "corpus.txt").write_text("Das kleine Haus.\nDer Hund ☃ schläft.\n")
    arguments = ["inspect", *pair, "--mode", "replace", "--corpus", tmp_path / "corpus.txt"]
    code, out, err = run(*arguments)
    assert code == 0
    titles = ("models", "shared tokens", "on the corpus", "special tokens", "how long it takes")
    for title in titles:
        assert title in out
    code, out, err = run(*arguments, "--json")
    assert (code, err) == (0, "")
    data = json.loads(out)
    assert data["source"]["name"] == str(pair[0])
    code, out, err = run("inspect", *pair, "--set", "special_tokens.drop=[x]")
    assert (code, out) == (1, "")
    assert err.startswith("error: special_tokens.drop: there is no 'x'")


def test_a_text_says_the_same_in_any_format_and_packing(run, pair, tmp_path):
    texts = [f"Das Haus Nummer {number} steht am Fluss." for number in range(9)]
    (tmp_path / "a.txt").write_text("".join(text + "\n" for text in texts))
    rows = "".join(json.dumps({"id": 1, "prosa": text}) + "\n" for text in texts)
    (tmp_path / "b").write_bytes(lzma.compress(rows.encode("utf-16")))
    found = []
    for name in ("a.txt", "b#prosa"):
        code, out, _ = run(
            *("inspect", *pair, "--mode", "replace", "--corpus", tmp_path / name, "--json")
        )
        assert not code
        found.append(json.loads(out) | {"seconds": None})
    assert found[0] == found[1]
    assert found[0]["new_on_corpus"]
