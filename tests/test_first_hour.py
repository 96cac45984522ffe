"""A stranger's first hour: the commands of the README in order, and each next line that they print.

On tiny models under the names that the README uses; every line is run as it stands.
"""

import io
import logging
import re
import shlex
from pathlib import Path

import pytest

from saltlm.cli.main import main
from saltlm.tokenizer.counts import count_tokens
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.prune import prune_tokenizer
from tiny_pairs import write_pair

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
PATH = re.search(r"<!-- one path -->\n```bash\n(.*?)```", README, re.DOTALL)[1]
SHORT = PATH.replace("\\\n", " ").replace("100k", "2k")
COMMANDS = [shlex.split(line) for line in SHORT.splitlines() if line]
FAST = shlex.split("--set fits.steps=1 --set fits.documents=2 --set fits.positions=99")
ENGLISH, GERMAN = slice(0, 6), slice(6, 12)


@pytest.fixture
def there(tokenizers_by_family, corpus, tmp_path, monkeypatch):
    """The models and texts that the README names, in the working directory."""
    own = tokenizers_by_family["bytelevel"]
    special = [token.content for token in own.get_added_tokens_decoder().values()]
    counts = count_tokens(own, corpus[ENGLISH])
    source = prune_tokenizer(Definition.of(own), counts, special=special).tokenizer
    made = write_pair(tmp_path, {**tokenizers_by_family, "bytelevel": source})
    for directory, name in zip(made, COMMANDS[0][2:4], strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        directory.rename(tmp_path / name)
    for name, lines in (("german", corpus[GERMAN]), ("english", corpus[ENGLISH])):
        text = "\n".join(lines)
        (tmp_path / f"{name}.txt").write_text("\n".join([text] * 30), encoding="utf-8")
        (tmp_path / f"{name}.heldout.txt").write_text("\n".join(lines[:2]), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("saltlm.evaluation.generation.N_NEW", 3)
    # The text that must be cut as before is short here: to read the usual one takes a second.
    monkeypatch.setattr("saltlm.alignment.align.OWN_ENGLISH", tmp_path / "english.txt")


@pytest.fixture
def run(monkeypatch, capsys):
    """A function that runs a line and returns what it printed, and the words of its next line."""

    def run(words):
        assert words[0] == "saltlm"
        monkeypatch.setattr(logging.root, "handlers", [])
        with pytest.raises(SystemExit) as exit:
            main(words[1:])
        out, err = capsys.readouterr()
        assert not exit.value.code, err
        found = re.search(r"^next: (.*)$", err, re.MULTILINE)
        return out, err, shlex.split(found[1]) if found else None

    return run


def test_the_readme_path_and_what_is_next_run_as_they_stand(there, run, monkeypatch):
    verdicts, said, waiting, done = {}, {}, list(COMMANDS), []
    monkeypatch.setattr("sys.stdin", io.StringIO())  # chat waits for lines
    while waiting:
        words = waiting.pop(0)
        out, err, following = run([*words, *(FAST if words[1] == "transfer" else ())])
        done.append(words)
        said.setdefault(words[1], out + err)
        if found := re.search(r"^verdict: (good|weak|stop): (.+)$", err, re.MULTILINE):
            verdicts[words[1]] = found[2]
        if following and following[1] not in ("transfer", "adapt") and following not in done:
            waiting += [] if following in waiting else [following]
        assert len(done) < 20
    assert verdicts.keys() == {"inspect", "transfer", "score", "check", "adapt", "evaluate"}
    assert verdicts["transfer"].startswith("r2 -0.")  # random models foretell nothing: stop
    assert "(source " in verdicts["adapt"]
    card = Path("german-adapted/README.md").read_text(encoding="utf-8")
    assert "\nIt writes every kind of text that SmolLM2-135M-Instruct does" in card
    assert f"): {verdicts['adapt']}.\n" in card.partition("Verdict after training (")[2]
    assert "saltlm adapt, 2,000 tokens" in said["inspect"]
    assert "training of 2,000 tokens (saltlm adapt) then takes about " in said["transfer"]
    assert "--preset laptop --tokens 2000 --teacher ngrams --out german-adapted" in said["check"]
    assert "no English is in this" not in said["adapt"]
    assert done[-1][1] == "chat"


def test_training_without_english_or_held_out_text_is_told_beforehand(there, run):
    model = COMMANDS[0][2]
    words = ["saltlm", "adapt", model, "--data", "german.txt", "--tokens", "300", "--out", "plain"]
    _, err, _ = run(words)
    assert "no English is in this training: --english FILE keeps more of it" in err
    assert err.index("nothing will be measured: --heldout FILE") < err.index("300 tokens")
