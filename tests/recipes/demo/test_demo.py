import gzip
import re
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from saltlm.cli.main import cli
from saltlm.errors import OutputError
from saltlm.inspection.explain import explain
from saltlm.recipes.demo import run
from saltlm.recipes.demo.assets import SMOLLM2

CORPUS = files("saltlm.recipes.demo") / "corpus"
ENGLISH = files("saltlm.alignment") / "english.txt.gz"  # what extended vocabularies leave alone
LANGUAGES = ["ar", "de", "en", "vi"]


def lines(name):
    file = ENGLISH if name == "en.txt.gz" else CORPUS / name
    return gzip.decompress(file.read_bytes()).decode().splitlines()


@pytest.mark.parametrize("language", LANGUAGES)
def test_shipped_text_is_clean_and_its_held_out_part_unseen(language):
    training, held_out = lines(f"{language}.txt.gz"), lines(f"{language}.heldout.txt.gz")
    assert len(set(training)) == len(training) > 400
    assert len(held_out) >= 8
    assert not set(training) & set(held_out)
    if language != "en":
        assert not set(training + held_out) & set(lines("en.txt.gz") + lines("en.heldout.txt.gz"))


def test_shipped_text_is_small_and_attributed():
    names = {file.name for file in CORPUS.iterdir()}
    size = sum(len((CORPUS / name).read_bytes()) for name in names)
    assert size + len(ENGLISH.read_bytes()) < 3_000_000
    attribution = (CORPUS / "ATTRIBUTION.md").read_text()
    for fact in (
        "Debian Administrator's Handbook",
        "Hertzog",
        "Attribution-ShareAlike 3.0",
        "11.2022",
        "What was changed",
    ):
        assert fact in attribution


@pytest.fixture
def tiny_assets(monkeypatch, tokenizers_by_family, roles_by_family, save_tokenizer_dir, tmp_path):
    """Stands in for the two real models."""
    torch.manual_seed(0)
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    sizes |= {"hidden_size": 16, "max_position_embeddings": 1024}

    def rows(family):
        return tokenizers_by_family[family].get_vocab_size()

    llama = LlamaForCausalLM(LlamaConfig(vocab_size=rows("bytelevel"), **sizes))
    bert = BertModel(BertConfig(vocab_size=rows("unigram") + 3, **sizes))
    directories = {}
    for model, family in ((llama, "bytelevel"), (bert, "unigram")):
        directory = tmp_path / "cache" / family
        model.save_pretrained(directory)
        save_tokenizer_dir(tokenizers_by_family[family], directory, **roles_by_family[family])
        directories[family] = directory

    def fetch(asset, cache):
        assert cache == tmp_path / "saltlm" / "demo"  # where the system keeps caches
        return directories["bytelevel" if asset is SMOLLM2 else "unigram"]

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(run, "fetch_asset", fetch)
    (english := tmp_path / "english.txt").write_text("\n".join(lines("en.txt.gz")[:60]))
    monkeypatch.setattr("saltlm.alignment.align.OWN_ENGLISH", english)


def test_the_demo_runs_through_and_replaces_an_earlier_one(tiny_assets, tmp_path, caplog):
    out = tmp_path / "my out"  # quoted in the commands that it shows
    for earlier in (out / "unigram-vi", out / "bytelevel-vi"):
        earlier.mkdir(parents=True)
        (earlier / "config.json").write_text("{}")
    command = ["demo", "--lang", "vi", "--out", str(out)]
    result = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert result.exit_code == 0
    made = out / "bytelevel-vi"
    assert re.search(r"^verdict: (good|weak|stop): .*bits per byte", caplog.text, re.MULTILINE)
    for part in ("shared tokens", "made rows", "forward pass", "neighbour", "bits a byte"):
        assert part in result.stdout
    assert "failed" not in result.stdout
    pair = f"{tmp_path}/cache/bytelevel '{out}/unigram-vi'"
    assert f"$ saltlm score {pair} --method salt --method " in result.stdout
    corpus = CORPUS / "vi.txt.gz"
    assert f"transfer {pair} --out '{made}' --preset best --corpus {corpus}" in result.stdout
    assert f"--english {tmp_path}/english.txt --set tokens=24000" in result.stdout
    curves = result.stdout.partition("bits a byte in training")[2]
    names = r"(untouched|with vi tokens)"
    rows = re.findall(rf"^ *([\d,]+) +{names} .* (\d\.\d{{3}}) .*█", curves, re.MULTILINE)
    lengths = [f"{step * 256:,}" for step in (0, 24, 48, 72, 94)]  # 94 steps are 24,064 tokens
    assert [row[:2] for row in rows] == [
        (length, name) for length in lengths for name in ("untouched", "with vi tokens")
    ]
    ends = {"untouched": out / "bytelevel-adapted", "with vi tokens": Path(f"{made}-adapted")}
    last = {name: float(value) for _, name, value in rows[-2:]}
    for seen in run.measure_languages(ends, ["vi"]):
        assert last[seen.model] == pytest.approx(seen.bits.value, abs=6e-4)  # shown rounded
    model = AutoModelForCausalLM.from_pretrained(made)
    assert len(AutoTokenizer.from_pretrained(made)) == len(model.lm_head.weight)
    assert explain(made, [run.WORDS["vi"][0]])
    page = (out / "report.html").read_text()
    for section in ("vocabulary", "explain", "geometry", "training"):
        assert f'<section id="{section}"' in page
    assert len(page.encode()) < 5_000_000
    assert "evaluated in measured" in page
    names = ["before", "transferred, untrained", "trained", "trained without a transfer"]
    stages = re.findall(rf'<th scope="row">({"|".join(names)})</th>', page)
    assert stages == 2 * names  # two languages


def test_an_out_that_cannot_be_made(tiny_assets, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="out cannot be made: Not a directory\nhint: .* --out"):
        run.prepare_pair("vi", tmp_path / "file" / "out", tmp_path)


def test_what_is_measured_is_the_models_own(tiny_assets, tmp_path):
    pair = run.prepare_pair("vi", tmp_path, tmp_path / "saltlm" / "demo")
    (seen,) = run.measure_languages({"untouched": pair.source}, ["vi"])
    held_out = lines("vi.heldout.txt.gz")
    assert (seen.model, seen.language) == ("untouched", "vi")
    assert seen.fertility.n_bytes == sum(len(line.encode()) for line in held_out)
    assert seen.bits.n_bytes == tuple(len(line.encode()) for line in held_out)
    # A random model spends about log2 of its rows on each token.
    assert seen.bits.value == pytest.approx(9.8 / seen.fertility.bytes_per_token, rel=0.02)
