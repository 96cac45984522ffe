"""Another vocabulary than the PLM's own, through the whole transfer and back into transformers."""

import json
import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from saltlm.alignment import align as alignment
from saltlm.cli.main import cli
from saltlm.cli.render import explanation_table
from saltlm.cli.render_pairs import budget_table
from saltlm.config.recommended import in_one_line_each, load_recommended
from saltlm.config.transfer import load_config
from saltlm.errors import ConfigError, DataError, OutputError, VocabularyError
from saltlm.files.hashes import sha256
from saltlm.inspection.explain import explain
from saltlm.inspection.pair import inspect
from saltlm.record.arrays import Origin
from saltlm.record.manifest import read_manifest
from saltlm.tokenizer.counts import count_tokens
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.prune import prune_tokenizer
from saltlm.tokenizer.vocabulary import Form, byte_letters
from saltlm.vocabulary_transfer.transfer import transfer
from tiny_models import PLMS, SOURCES
from tiny_pairs import faults, write_side

ENGLISH, GERMAN = slice(0, 6), slice(6, 12)


@dataclass(frozen=True)
class Case:
    """A source and a PLM, as in `test_architectures`."""

    source: str
    source_family: str
    plm: str
    plm_family: str
    is_tied: bool
    padding: int = 0


EXTENDED = [
    Case("SmolLM2", "bytelevel", "BERT", "wordpiece", is_tied=True),
    Case("Phi", "sentencepiece", "XLM-R", "unigram", is_tied=False, padding=28),
    Case("XGLM", "unigram", "Llama without head", "sentencepiece", is_tied=True, padding=1500),
]
SWAPPED = [
    Case("SmolLM2", "bytelevel", "BERT", "wordpiece", is_tied=True),
    Case("Phi", "sentencepiece", "XLM-R", "unigram", is_tied=False, padding=28),
    Case("XGLM", "unigram", "GPT-2", "bytelevel", is_tied=True),
]
RETOKENIZED = [
    Case("SmolLM2", "bytelevel", "BERT", "wordpiece", is_tied=True),
    Case("Llama", "sentencepiece", "GPT-2", "bytelevel", is_tied=False),
]
PRUNED = [
    Case("SmolLM2", "bytelevel", "GPT-2", "sentencepiece", is_tied=True),
    Case("Llama", "bytelevel", "BERT", "wordpiece", is_tied=False),
]


def english(tokenizer: Tokenizer, corpus: list[str]) -> Tokenizer:
    """A tokenizer that knows the words of the English lines only."""
    return prune_tokenizer(
        Definition.of(tokenizer), count_tokens(tokenizer, corpus[ENGLISH])
    ).tokenizer


@pytest.fixture
def write_case(tokenizers_by_family, roles_by_family, tmp_path, corpus):
    """A function that writes both models of a case and returns them."""

    def write(case, *, is_english=False):
        torch.manual_seed(3)
        models = []
        for name, maker, family, padding in (
            ("source", SOURCES[case.source], case.source_family, case.padding),
            ("plm", PLMS[case.plm], case.plm_family, 3),
        ):
            tokenizer, roles = tokenizers_by_family[family], roles_by_family[family]
            if is_english and name == "source":
                tokenizer = english(tokenizer, corpus)
            ids = {f"{role}_id": tokenizer.token_to_id(token) for role, token in roles.items()}
            ids = {f"{role}_token_id": None for role in ("bos", "eos", "pad")} | ids
            models.append(maker(tokenizer.get_vocab_size() + padding, **ids))
            write_side(tmp_path / name, models[-1], tokenizer, **roles)
        return models

    return write


@pytest.fixture
def german_file(tmp_path, corpus):
    file = tmp_path / "de.txt"
    file.write_text("\n".join(corpus[GERMAN]), encoding="utf-8")
    return file


def tables_of(model):
    """Embedding, head and bias as tables of float64."""
    head = model.get_output_embeddings()
    tables = [model.get_input_embeddings().weight, head.weight]
    if getattr(head, "bias", None) is not None:
        tables.append(head.bias.unsqueeze(1))
    return [table.detach().double().numpy() for table in tables]


def plm_rows(plm, result):
    """The PLM row of every token of the new model, that of a composed one from its pieces."""
    table = plm.get_input_embeddings().weight.detach().double().numpy()
    record, rows = result.provenance, {}
    for id in range(len(record.origin)):
        if record.plm_ids[id] >= 0:
            rows[id] = table[int(record.plm_ids[id])]
        elif pieces := record.pieces(id):
            rows[id] = table[pieces].mean(0)
    return rows


def check_new_rows(old, new, plm, result):
    """Rows are those of SALT in float64, of PLM rows that were worked out on the parent."""
    rows = plm_rows(plm, result)
    table = plm.get_input_embeddings().weight.detach().double().numpy()
    record = result.provenance
    offsets = record.neighbours.offsets.tolist()
    assert result.counts["made"] > 30
    for number in range(0, len(record.new_ids), 25):
        id = int(record.new_ids[number])
        near = record.neighbours.indices[offsets[number] : offsets[number + 1]]
        pairs = zip(
            record.anchor_plm_ids[near].tolist(), record.anchor_ids[near].tolist(), strict=True
        )
        bases = np.array([table[row] if row >= 0 else rows[anchor] for row, anchor in pairs])
        coefficients = rows[id] @ np.linalg.pinv(bases, rcond=1e-5)
        for before, after in zip(tables_of(old), tables_of(new), strict=True):
            expected = coefficients @ before[record.anchor_source_ids[near].numpy()]
            np.testing.assert_allclose(after[id], expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("case", EXTENDED, ids=lambda case: f"{case.source_family} extended")
def test_extended(case, write_case, tmp_path, corpus):
    """The source's ids, rows, English and logits stay; its new tokens have SALT's rows."""
    source, plm = write_case(case, is_english=True)
    sample = tmp_path / "en.txt"
    sample.write_text("\n".join(corpus[ENGLISH]), encoding="utf-8")
    settings = json.loads((tmp_path / "source/generation_config.json").read_text())
    settings["suppress_tokens"] = [5, 6]
    (tmp_path / "source/generation_config.json").write_text(json.dumps(settings))
    options = {"mode": "extend", "keep": (sample,)}
    result = transfer(tmp_path / "source", tmp_path / "plm", tmp_path / "out", **options)

    new, info = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info.values())
    assert (new.get_output_embeddings().weight is new.get_input_embeddings().weight) == case.is_tied
    old_tokenizer, tokenizer = (
        AutoTokenizer.from_pretrained(tmp_path / name) for name in ("source", "out")
    )
    size, n_rows = len(old_tokenizer), source.get_input_embeddings().num_embeddings
    assert old_tokenizer.get_vocab().items() <= tokenizer.get_vocab().items()
    assert old_tokenizer.get_added_vocab() == tokenizer.get_added_vocab()
    assert len(tokenizer) > size + 300
    assert new.config.vocab_size == max(len(tokenizer), n_rows)
    for before, after in zip(tables_of(source), tables_of(new), strict=True):
        assert np.array_equal(after[:size], before[:size])
        assert np.array_equal(after[len(tokenizer) : n_rows], before[len(tokenizer) : n_rows])

    german = [len(tokenizer(line).input_ids) for line in corpus[GERMAN]]
    old_german = [len(old_tokenizer(line).input_ids) for line in corpus[GERMAN]]
    assert sum(german) < 0.6 * sum(old_german)
    for line in corpus[ENGLISH]:
        ids = torch.tensor([tokenizer(line).input_ids])
        assert ids[0].tolist() == old_tokenizer(line).input_ids
        with torch.inference_mode():
            before, after = source(ids).logits, new.eval()(ids).logits
        torch.testing.assert_close(after[..., :size], before[..., :size], atol=1e-5, rtol=1e-5)

    record = result.provenance
    origins = record.origin[:size].unique().tolist()
    assert set(origins) <= {Origin.SHARED, Origin.KEPT, Origin.SPECIAL}
    check_new_rows(source, new, plm, result)
    assert new.generation_config.suppress_tokens == [5, 6]
    assert new.generation_config.eos_token_id == source.generation_config.eos_token_id
    assert not faults(tmp_path / "out")

    manifest = read_manifest(tmp_path / "out")
    counts = manifest["vocabulary"]["extension"]
    assert counts["n_new"] + counts["n_intermediate"] == len(tokenizer) - size
    assert counts["sample_changed"] == 0
    assert manifest["files"] == {str(sample): sha256(sample)}
    assert f"- {counts['n_new']:,} new tokens" in (tmp_path / "out/README.md").read_text()
    kept = int((record.origin == Origin.KEPT).nonzero()[0])
    assert explain(tmp_path / "out", [f"#{kept}"])[0].origin == "kept"


@pytest.mark.parametrize("case", SWAPPED, ids=lambda case: f"{case.source_family} swapped")
def test_swapped(case, write_case, tmp_path, corpus, german_file):
    """Tokens in use keep their rows, ids in settings follow, and new tokens have SALT's rows."""
    source, plm = write_case(case)
    sample = tmp_path / "en.txt"
    sample.write_text("\n".join(corpus[ENGLISH]), encoding="utf-8")
    settings = json.loads((tmp_path / "source/generation_config.json").read_text())
    eos = settings["eos_token_id"]
    settings["eos_token_id"] = [eos, source.config.bos_token_id]
    (tmp_path / "source/generation_config.json").write_text(json.dumps(settings))
    options = {"mode": "swap", "corpus": german_file, "keep": sample, "keep_within": 100}
    result = transfer(tmp_path / "source", tmp_path / "plm", tmp_path / "out", **options)

    new = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert (new.get_output_embeddings().weight is new.get_input_embeddings().weight) == case.is_tied
    old_tokenizer, tokenizer = (
        AutoTokenizer.from_pretrained(tmp_path / name) for name in ("source", "out")
    )
    file = Tokenizer.from_file(str(tmp_path / "out/tokenizer.json"))
    assert file.get_vocab() == tokenizer.get_vocab()
    assert new.config.vocab_size == len(tokenizer) == len(result.provenance.origin)
    before, after = old_tokenizer.get_vocab(), tokenizer.get_vocab()
    shared = [(before[token], after[token]) for token in before.keys() & after.keys()]
    counts = read_manifest(tmp_path / "out")["vocabulary"]["swap"]
    assert (counts["n_kept"], counts["n_source"]) == (len(shared), len(before))
    assert counts["n_kept"] < 0.9 * counts["n_source"]
    olds, news = map(list, zip(*shared, strict=True))
    for old, rows in zip(tables_of(source), tables_of(new), strict=True):
        assert np.array_equal(rows[news], old[olds])
    origins = result.provenance.origin[news].unique().tolist()
    assert set(origins) <= {Origin.SHARED, Origin.KEPT, Origin.SPECIAL}
    check_new_rows(source, new, plm, result)

    for line in corpus[ENGLISH]:
        ids = tokenizer(line).input_ids
        assert ids == file.encode(line).ids
        assert tokenizer.convert_ids_to_tokens(ids) == old_tokenizer.tokenize(
            line, add_special_tokens=True
        )
        assert tokenizer.decode(ids) == old_tokenizer.decode(old_tokenizer(line).input_ids)
    ends = old_tokenizer.convert_ids_to_tokens([eos, source.config.bos_token_id])
    assert new.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids(ends)
    for role in ("bos", "eos", "pad"):
        assert getattr(tokenizer, f"{role}_token") == getattr(old_tokenizer, f"{role}_token")
    assert not faults(tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text()
    n_cut = counts["n_source"] - counts["n_kept"]
    assert f"- {n_cut:,} of the source's {counts['n_source']:,} tokens are cut" in card


@pytest.mark.parametrize("case", RETOKENIZED, ids=lambda case: f"{case.plm_family} PLM")
def test_another_tokenizer(case, write_case, tmp_path, corpus, tokenizers_by_family):
    """Tokens that the PLM lacks get the mean of its pieces' rows, and SALT goes on from that."""
    source, plm = write_case(case, is_english=True)
    other = Tokenizer.from_str(tokenizers_by_family["unigram"].to_str())
    other.add_tokens(["Donaudampfschiff", "Preisdatei"])
    write_side(tmp_path / "other", plm, other, unk_token="<unk>")
    (tmp_path / "other/README.md").write_text("---\nlicense: cc0-1.0\n---\n")
    option = {"target_tokenizer": str(tmp_path / "other")}
    result = transfer(tmp_path / "source", tmp_path / "plm", tmp_path / "out", **option)

    new = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert (new.get_output_embeddings().weight is new.get_input_embeddings().weight) == case.is_tied
    loaded = AutoTokenizer.from_pretrained(tmp_path / "out")
    for line in corpus[GERMAN]:
        tokens = other.encode(line, add_special_tokens=False).tokens
        spelled = [Form(token.replace("▁", " ").encode(), False) for token in tokens]
        assert loaded.tokenize(line) == [byte_letters(form) for form in spelled]

    record, own = result.provenance, tokenizers_by_family[case.plm_family]
    rows = plm_rows(plm, result)
    n_composed = sum(bool(record.pieces(id)) for id in range(len(record.origin)))
    table = plm.get_input_embeddings().weight.detach().double().numpy()
    for word in ("Donaudampfschiff", "Preisdatei"):
        id = loaded.convert_tokens_to_ids(word)
        pieces = record.pieces(id)
        assert record.origin[id] == Origin.MADE
        np.testing.assert_array_equal(rows[id], table[pieces].mean(0))
        # An added token is literal text, so it does not begin a word.
        if case.plm_family == "wordpiece":
            assert "".join(own.id_to_token(piece) for piece in pieces).replace("##", "") == word
            assert own.id_to_token(pieces[0]).startswith("##")
        else:
            assert pieces == own.encode(word, add_special_tokens=False).ids
        (row,) = explain(tmp_path / "out", [f"#{id}"])
        assert list(row.plm_pieces) == pieces
        ids = ", ".join(map(str, pieces))
        assert explanation_table(row, 5).title.endswith(f", PLM row the mean of its tokens {ids}")
    check_new_rows(source, new, plm, result)
    assert not faults(tmp_path / "out")

    vocabulary = read_manifest(tmp_path / "out")["vocabulary"]
    assert vocabulary["composed_rows"] == n_composed >= 2
    assert vocabulary["tokenizer"]["name"] == option["target_tokenizer"]
    assert vocabulary["tokenizer"]["files"]["tokenizer.json"] == sha256(
        tmp_path / "other/tokenizer.json"
    )
    card = (tmp_path / "out/README.md").read_text()
    assert "| vocabulary | other | cc0-1.0 |" in card
    assert f"- {n_composed:,} tokens that the PLM lacks get the mean" in card


def pairs_of(record):
    """The rows of each anchor in source and PLM."""
    return zip(record.anchor_source_ids.tolist(), record.anchor_plm_ids.tolist(), strict=True)


@pytest.mark.parametrize("case", PRUNED, ids=lambda case: f"{case.plm_family} pruned")
def test_pruned(case, write_case, tmp_path, corpus, german_file, tokenizers_by_family):
    """As many tokens as asked for, German cut as before, and SALT's rows from the PLM's own."""
    source, plm = write_case(case, is_english=True)
    donor = tokenizers_by_family[case.plm_family]
    n_used = len(prune_tokenizer(Definition.of(donor), count_tokens(donor, corpus[GERMAN])).kept)
    size = n_used + 20
    options = {"prune_to": size, "corpus": (german_file,)}
    result = transfer(tmp_path / "source", tmp_path / "plm", tmp_path / "out", **options)

    new = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    loaded, record = AutoTokenizer.from_pretrained(tmp_path / "out"), result.provenance
    for line in corpus[GERMAN]:
        ids = loaded(line, add_special_tokens=False).input_ids
        if not any(char.isdigit() for char in line):
            own = donor.encode(line, add_special_tokens=False).ids
            assert [id for id in record.plm_ids[ids].tolist() if id >= 0] == own
    check_new_rows(source, new, plm, result)
    assert not faults(tmp_path / "out")
    vocabulary = read_manifest(tmp_path / "out")["vocabulary"]
    assert (vocabulary["kept_tokens"], vocabulary["used_tokens"]) == (size, n_used)
    assert vocabulary["tokens_before"] == donor.get_vocab_size()
    loss = vocabulary["pruning"]
    assert (loss["n_documents"], loss["n_changed"], loss["resegmented"]) == (6, 0, 0)
    whole = transfer(tmp_path / "source", tmp_path / "plm", tmp_path / "whole").provenance
    assert {pair[0] for pair in pairs_of(record)} <= {pair[0] for pair in pairs_of(whole)}
    sources = [set(made.anchor_source_ids.tolist()) for made in (record, whole)]
    assert sources[0] == sources[1]  # where two tokens of the PLM are one in the source, one serves
    n_kept = len(record.anchor_ids) - len(record.anchor_names)
    assert 0 < n_kept < len(whole.anchor_ids)
    assert (record.anchor_ids[:n_kept] >= 0).all()
    assert (record.anchor_ids[n_kept:] == -1).all()
    names = AutoTokenizer.from_pretrained(tmp_path / "source").convert_ids_to_tokens(
        record.anchor_source_ids[n_kept:].tolist()
    )
    assert list(record.anchor_names) == names
    own = transfer(
        tmp_path / "source", tmp_path / "plm", tmp_path / "own", anchors="kept", **options
    ).provenance
    assert torch.equal(own.anchor_ids, record.anchor_ids[:n_kept])
    assert own.anchor_names == ()
    notes = "\n".join(result.target.notes)
    assert f"learn from {len(names):,} shared tokens that the new model does not have" in notes
    assert f"{size:,} of {donor.get_vocab_size():,} tokens are kept: 0.0% of the corpus' " in notes
    assert f"the corpus needs {n_used:,} of the kept tokens; the other 20 are the" in notes


def test_joined(write_case, tmp_path, german_file):
    """Joined tokens have the mean of their pieces' rows in the PLM, and SALT makes theirs of it."""
    case = Case("SmolLM2", "bytelevel", "XLM-R", "unigram", is_tied=True)
    source, plm = write_case(case, is_english=True)
    pair = tmp_path / "source", tmp_path / "plm"
    options = {"mode": "replace", "corpus": (german_file,), "min_occurrences": 1}
    with pytest.raises(ConfigError, match="a number of rows by a text; add --prune-to N"):
        transfer(*pair, tmp_path / "out", vocabulary="joined", **options)
    options |= {"vocabulary": "joined", "prune_to": 260}
    result = transfer(*pair, tmp_path / "out", **options)
    record = read_manifest(tmp_path / "out")["vocabulary"]
    assert record["joined_tokens"] > 5
    assert record["kept_tokens"] + record["joined_tokens"] == 260
    new = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    check_new_rows(source, new, plm, result)
    assert not faults(tmp_path / "out")
    assert any("further tokens are neighbours that often" in note for note in result.target.notes)


def test_what_cannot_be_is_said_before_anything_is_written(write_case, tmp_path, german_file):
    write_case(Case("SmolLM2", "bytelevel", "BERT", "wordpiece", is_tied=True))
    pair = tmp_path / "source", tmp_path / "plm", tmp_path / "out"
    for options in ({"prune_to": 300}, {"mode": "swap"}):
        with pytest.raises(DataError, match="the corpus has no text"):
            transfer(*pair, **options)
    with pytest.raises(VocabularyError, match=r"9 tokens cannot hold what has to stay: 5 special"):
        transfer(*pair, prune_to=9, corpus=(german_file,))
    (tmp_path / "empty").mkdir()
    with pytest.raises(VocabularyError, match=r"neither tokenizer\.json"):
        transfer(*pair, target_tokenizer=str(tmp_path / "empty"))
    with pytest.raises(OutputError, match="which is an input"):
        transfer(*pair[:2], tmp_path / "empty/out", target_tokenizer=str(tmp_path / "empty"))
    write_case(Case("Llama", "wordpiece", "BERT", "unigram", is_tied=False))
    with pytest.raises(VocabularyError, match="is a WordPiece one, which cannot be extended"):
        transfer(*pair, mode="extend")
    with pytest.raises(ConfigError, match="keep is only for the modes extend and swap"):
        transfer(*pair, keep=(german_file,))
    with pytest.raises(ConfigError, match="mode=extend cuts numbers as the source does, digits=p"):
        transfer(*pair, mode="extend", digits="plm")
    assert not (tmp_path / "out").exists()


def test_inspect_counts_the_tokens_of_the_choice(
    write_case, tmp_path, corpus, german_file, monkeypatch
):
    write_case(EXTENDED[0], is_english=True)
    pair = tmp_path / "source", tmp_path / "plm"
    sample = tmp_path / "en.txt"
    sample.write_text("\n".join(corpus[ENGLISH]), encoding="utf-8")
    monkeypatch.setattr(alignment, "OWN_ENGLISH", sample)
    report = inspect(*pair, config=load_config(mode="extend", corpus=[str(german_file)]))
    found = report.vocabularies
    n_source = len(AutoTokenizer.from_pretrained(pair[0]))
    assert found.n_new > 300
    assert n_source + found.n_new <= found.n_new_model
    assert found.n_shared < n_source
    assert report.new_on_corpus.tokens_per_word < 0.6 * report.source.on_corpus.tokens_per_word
    assert any(re.match(r"\d+ new tokens; \d+ more of which", note) for note in report.notes)
    assert not any("; 0 " in note for note in report.notes)


def test_with_a_corpus_and_no_choice_a_transfer_is_the_best(
    write_case, tmp_path, corpus, german_file, caplog
):
    write_case(EXTENDED[0], is_english=True)
    (english := tmp_path / "en.txt").write_text("\n".join(corpus[ENGLISH]), encoding="utf-8")
    few = {"steps": 1, "documents": 2, "layer": 1, "positions": 50}
    with caplog.at_level("INFO", "saltlm"):
        made = transfer(
            *(tmp_path / name for name in ("source", "plm", "out")),
            **{"corpus": german_file, "keep": english, "min_occurrences": 2, "fits": few},
        )
    record = read_manifest(tmp_path / "out")
    options, budget = record["options"], record["vocabulary"]["budget"]
    assert (options["preset"], options["mode"], options["vocabulary"]) == ("best", "extend", "auto")
    assert budget["tokens"] == round(budget["corpus_tokens"] * (1 - budget["saved"]))
    assert None not in (made.input_fit, made.head_fit)
    assert set(in_one_line_each(load_recommended(corpus="x"))) <= set(caplog.messages)


@pytest.mark.parametrize("mode", ["extend", "swap"])
def test_a_vocabulary_for_a_budget(write_case, tmp_path, corpus, german_file, mode):
    """New tokens are merged of the source's pieces; what the PLM lacks has its pieces' row."""
    source, plm = write_case(EXTENDED[0], is_english=True)
    sample = tmp_path / "en.txt"
    sample.write_text("\n".join(corpus[ENGLISH]), encoding="utf-8")
    options = {"mode": mode, "corpus": (german_file,), "keep": (sample,)}
    options |= {"vocabulary": "auto", "budget": 400, "min_occurrences": 2}
    report = inspect(tmp_path / "source", tmp_path / "plm", config=load_config(**options))
    result = transfer(tmp_path / "source", tmp_path / "plm", tmp_path / "out", **options)
    record = read_manifest(tmp_path / "out")["vocabulary"]
    assert record["budget"] == report.budget
    assert 10 < record["extension"]["n_new"] <= record["budget"]["n_chosen"]
    assert record["extension"]["n_intermediate"] == 0
    assert record["composed_rows"] > 0
    assert any("tokens of training" in note for note in result.target.notes)
    shown = budget_table(report.budget)
    assert shown.title.endswith(report.budget["verdict"])
    if mode == "extend":
        new = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
        check_new_rows(source, new, plm, result)


def test_a_tokenizer_that_is_a_program_and_what_to_take_instead(write_case, tmp_path, german_file):
    """FlauBERT's cut needs Moses; the flags of the hint give a model with another PLM."""
    write_case(Case("SmolLM2", "bytelevel", "BERT", "wordpiece", is_tied=True))
    flaubert = tmp_path / "flaubert"
    flaubert.mkdir()
    (flaubert / "vocab.json").write_text('{"<unk>": 0, "d": 1, "as</w>": 2}')
    (flaubert / "merges.txt").write_text("a s</w>\n")
    (flaubert / "config.json").write_text('{"model_type": "flaubert"}')
    source, out = str(tmp_path / "source"), tmp_path / "out"
    with pytest.raises(VocabularyError, match="rules of Moses and its lists of abb") as caught:
        inspect(source, flaubert)
    flags = re.search(r"--prune-to N --corpus FILE", caught.value.hint)[0]
    given = flags.replace("N", "500").replace("FILE", str(german_file)).split()
    done = CliRunner().invoke(
        cli, ["transfer", source, f"{tmp_path}/plm", "--out", str(out), *given]
    )
    assert done.exit_code == 0, done.output
    assert not faults(out)
