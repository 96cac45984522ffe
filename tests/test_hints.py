"""Hints lead on: what a message proposes is done here as it stands, and works.

Those about texts, vectors and tokenizers that people bring are followed in their rooms
(`test_formats`, `test_vector_file`, `test_load`); here are the options and commands of others.
"""

import json
import re
import subprocess

import pytest
from click.testing import CliRunner
from tokenizers import Tokenizer, normalizers
from transformers import PreTrainedTokenizerFast

from conftest import ROLES
from saltlm.alignment.align import align
from saltlm.auxiliary.fasttext_training import train_fasttext
from saltlm.auxiliary.make import vectors
from saltlm.auxiliary.writing import check_vectors_place
from saltlm.cli.main import cli
from saltlm.config.transfer import load_config
from saltlm.errors import OutputError, SaltlmError
from saltlm.files.atomic import check_place, new_directory
from saltlm.files.caches import cache
from saltlm.files.documents import documents
from saltlm.files.links import check_links
from saltlm.files.source import Source
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.load import read_tokenizer
from saltlm.tokenizer.special_tokens import special_tokens_of
from saltlm.vocabulary_transfer.prepare import prepare
from tiny_pairs import write_pair


def refusal(function, *args, **options):
    with pytest.raises(SaltlmError) as caught:
        function(*args, **options)
    return caught.value.hint


def proposed(hint):
    """Return the options that a hint names, each a way out by itself, as ``--set`` takes them."""
    flags = re.findall(r"--(mode|vocabulary|match) ([a-z]+)", hint)
    ways = [f"{name}={value}" for name, value in flags]
    ways += re.findall(r"--set ([\w.]+=[\w.]+)", hint)
    return ways + [f"prune_to={size}" for size in re.findall(r"prune to (\d+) tokens", hint)]


@pytest.fixture(scope="module")
def german(tmp_path_factory, corpus):
    file = tmp_path_factory.mktemp("hints") / "de.txt"
    file.write_text("\n".join(corpus[6:12]), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def sides(tokenizers_by_family):
    """Definition and special tokens by family, also of a tokenizer that lower-cases."""
    uncased = Tokenizer.from_str(tokenizers_by_family["unigram"].to_str())
    uncased.normalizer = normalizers.Lowercase()
    roles = ROLES | {"uncased": ROLES["unigram"]}
    return {
        name: (
            Definition.of(each),
            special_tokens_of(PreTrainedTokenizerFast(tokenizer_object=each, **roles[name])),
        )
        for name, each in (dict(tokenizers_by_family) | {"uncased": uncased}).items()
        if name in roles
    }


@pytest.mark.parametrize(
    ("source", "plm", "options", "ways"),
    [
        ("wordpiece", "unigram", ["mode=extend"], ["mode=replace"]),
        (
            "bytelevel",
            "unigram",
            ["mode=extend", "special_tokens.drop=['<|im_end|>']"],
            ["mode=replace"],
        ),
        ("bytelevel", "uncased", [], ["mode=extend", "lossy=true"]),
        ("bytelevel", "wordpiece", ["vocabulary=joined", "prune_to=400"], ["vocabulary=plm"]),
        ("bytelevel", "unigram", ["prune_to=9"], [r"prune_to=\d+"]),
    ],
    ids=str,
)
def test_another_vocabulary(sides, german, source, plm, options, ways):
    def aligned(*assignments):
        config = load_config(None, assignments, corpus=[str(german)])
        return align(*sides[source], *sides[plm], config, n_source_rows=9999)

    hint = refusal(aligned, *options)
    found = proposed(hint)
    assert re.fullmatch(" ".join(ways), " ".join(found))
    for mode, words in re.findall(r"--mode (\w+) \(without (.*?)\)", hint):
        assert load_config(None, [f"mode={mode}"], corpus="text")
        for word in words.replace(" and ", ", ").split(", "):
            key, _, value = word.partition("=")
            other = [f"mode={mode}", f"{key}={value or 9}"]
            assert refusal(load_config, None, other, corpus="text")
    for way in found:
        assert aligned(*options, way).target.tokenizer.get_vocab_size() > 100


def test_the_id_that_positions_are_counted_from(sides):
    """As in RoBERTa's kin, where that of pad has to stay."""

    def aligned(held, *assignments):
        config = load_config(None, assignments)
        return align(*sides["bytelevel"], *sides["unigram"], config, n_source_rows=9999, held=held)

    ids = sides["bytelevel"][0].ids
    hint = refusal(aligned, ids["<|im_end|>"], "special_tokens.drop=['<|im_end|>']")
    assert hint.startswith("take the token out of special_tokens.drop")
    new = aligned(ids["<|im_end|>"])
    left_out = min({*ids.values()} - {*new.match.source_ids.tolist()})
    assert aligned(left_out, *proposed(refusal(aligned, left_out)))


@pytest.mark.parametrize(
    ("options", "ways"),
    [
        (["min_shared=9999"], ["match=casefold", "min_shared=5"]),
        (["fits.input=true", "fits.device=cuda"], ["fits.device=cpu"]),
    ],
    ids=str,
)
def test_another_way_to_rows(tokenizers_by_family, tmp_path, german, monkeypatch, options, ways):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    pair = write_pair(tmp_path, tokenizers_by_family)

    def prepared(*assignments):
        return prepare(*pair, load_config(None, assignments, corpus=[str(german)]))

    found = proposed(refusal(prepared, *options).replace("min_shared=N", "min_shared=5"))
    assert found == ways
    assert prepared(*options, found[-1]).problem


def test_a_place_that_is_not_there(tmp_path):
    out = tmp_path / "not yet" / "out"

    def write(*, force=False):
        with new_directory(out, force=force, expected_bytes=0) as fresh:
            (fresh / "config.json").write_text("{}")

    subprocess.run(refusal(write), shell=True, check=True)
    write()
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "out", tmp_path / "file"):
        with pytest.raises(OutputError) as caught:
            check_place(place, force=False)
        assert caught.value.hint.startswith("choose another")
        assert "--force" not in caught.value.hint
    assert "--force" in refusal(write)
    write(force=True)
    vectors_file = tmp_path / "none" / "v.vec"
    subprocess.run(refusal(check_vectors_place, vectors_file, force=False), shell=True, check=True)
    check_vectors_place(vectors_file, force=False)
    names = re.findall(r"\.[a-z.]+\b", refusal(check_vectors_place, tmp_path / "v", force=False))
    assert names == [".vec", ".vec.gz", ".bin"]
    for name in names:
        check_vectors_place(tmp_path / f"v{name}", force=False)


def test_a_link_that_is_trusted(tmp_path):
    (model := tmp_path / "model").mkdir()
    (tmp_path / "elsewhere").write_text("a")
    (model / "LICENSE").symlink_to(tmp_path / "elsewhere")
    command = re.search(r"cp -rL \S+ COPY", refusal(check_links, model))[0]
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    check_links(tmp_path / "COPY")


def test_words_that_an_option_takes(tmp_path, monkeypatch):
    monkeypatch.setattr("saltlm.files.caches.cache_folder", lambda kind: tmp_path / kind)
    kinds = refusal(cache, clear="x").removeprefix("it has ").replace("; or", ",").split(", ")
    assert not any(cache(clear=kind).entries for kind in kinds)
    (file := tmp_path / "a.txt").write_text("Haus\n")
    for encoding in re.findall(r"encoding:([\w-]+)", refusal(Source.parse, f"{file}#encoding:x")):
        assert Source.parse(f"{file}#encoding:{encoding}").encoding == encoding
    share = re.search(r"bad:0\.\d+", refusal(Source.parse, f"{file}#bad:x"))[0]
    assert list(documents([f"{file}#{share}"])) == ["Haus"]
    for layout in (
        refusal(Source.parse, f"{file}#layout:x").removeprefix("it is one of ").split(", ")
    ):
        assert Source.parse(f"{file}#layout:{layout}").layout == layout
    (table := tmp_path / "a.csv").write_text("id,text\n1,ein Haus\n2,zwei Häuser\n")
    assert "give its number, from 1" in refusal(lambda: list(documents([f"{table}#body"])))
    assert list(documents([f"{table}#2"])) == ["ein Haus", "zwei Häuser"]


def test_vectors_of_little_text_and_of_a_list(tmp_path):
    (text := tmp_path / "de.txt").write_text("ein Haus\n")
    small = {"dimension": 4, "bucket": 10, "epochs": 1}

    def made(*assignments):
        config = load_config(None, assignments, fasttext=None)
        return train_fasttext([text], config.fasttext.model_copy(update=small), 0)

    way = proposed(refusal(made))
    assert made(*way).words()
    words = [f"--set={word}" for word in (*way, *(f"{key}={n}" for key, n in small.items()))]
    done = CliRunner().invoke(
        cli, ["vectors", "train", "--corpus", str(text), "--out", str(tmp_path / "t.bin"), *words]
    )
    assert done.exit_code == 0, done.exception
    assert way == ["fasttext.min_count=1"]
    hint = refusal(vectors, "train", text, out=tmp_path / "v.vec")
    given = {"corpus": re.search(r"--corpus (\S+),", hint)[1], "min_count": 1, **small}
    assert vectors("train", out=tmp_path / "v.vec", **given).n_words
    assert "convert FILE --out OUT" in refusal(vectors, "convert", out=tmp_path / "w.vec")
    assert refusal(vectors, "convert", tmp_path / "v.vec", out=tmp_path / "w.bin").endswith(".vec")
    assert vectors("convert", tmp_path / "v.vec", out=tmp_path / "w.vec").n_words


def test_files_of_a_tokenizer(tmp_path):
    (file := tmp_path / "vocab.txt").write_text("<none>\na\nb\n##b\nHaus\n")
    settings = {"tokenizer_class": "BertTokenizer"}
    (config := tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    assert "name the unk_token in tokenizer_config.json" in refusal(read_tokenizer, tmp_path)
    config.write_text(json.dumps(settings | {"unk_token": "<none>"}))
    assert read_tokenizer(tmp_path).tokenizer.encode("Haus").tokens == ["Haus"]
    file.unlink()
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n")
    config.write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    missing = re.match(r"put (\S+), or", refusal(read_tokenizer, tmp_path))[1]
    (tmp_path / missing).write_text('{"a": 0, "b": 1, "ab": 2, "Ġ": 3, "<|endoftext|>": 4}')
    assert read_tokenizer(tmp_path).tokenizer.encode("ab").tokens == ["ab"]
