"""The fits on a pair of tiny models, against what transformers' own models say of the result."""

import json
import logging
import re
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from conftest import CORPUS
from saltlm.adaptation.parameters import tokens_want_ngrams
from saltlm.alignment.align import english_text
from saltlm.comparison.compare import compare
from saltlm.comparison.score import score
from saltlm.config.fits import STEP_TOKENS, FitsConfig, fits_for
from saltlm.config.transfer import load_config
from saltlm.errors import CheckpointError, ConfigError, DataError
from saltlm.inspection.pair import inspect
from saltlm.models.logits import document_start
from saltlm.record.arrays import Origin
from saltlm.record.manifest import read_manifest
from saltlm.vocabulary_transfer.fits import _batches
from saltlm.vocabulary_transfer.transfer import transfer
from tiny_pairs import faults, write_pair

LINES = [line for line in CORPUS if "\n" not in line and not line.isascii()]
TEXT = LINES + LINES[::2]  # so that some tokens occur twice
TWO = {"method": "global-residual:ridge=1.0/first-piece", "mode": "extend", "untie": True}
HELD = {"input": True, "head": True, "ridge": 1e6}
BARE = {"add_special_tokens": False}
NEW = (Origin.MADE, Origin.SAMPLED)


@pytest.fixture(scope="module")
def german(tmp_path_factory):
    file = tmp_path_factory.mktemp("text") / "text.txt"
    file.write_text("\n".join(TEXT) + "\n", encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def pair(tmp_path_factory, tokenizers_by_family):
    return write_pair(tmp_path_factory.mktemp("tied"), tokenizers_by_family)


@pytest.fixture(scope="module")
def untied(tmp_path_factory, tokenizers_by_family):
    return write_pair(tmp_path_factory.mktemp("untied"), tokenizers_by_family, "Llama")


def settings(german, *, input=False, head=False, **more):
    fits = {"input": input, "head": head, "steps": 6, "documents": len(TEXT)}
    fits |= {"positions": 10_000, "layer": 1, "dtype": "float32"}
    # The text that must be cut as before is short here: to read the usual one takes a second.
    english = german.with_name("english.txt")
    english.write_text("the dog\n")
    return {**TWO, "corpus": [german], "keep": [english], "fits": {**fits, **more}}


def is_new(result):
    return torch.isin(result.provenance.origin, torch.tensor(NEW))


def load(directory):
    return AutoModelForCausalLM.from_pretrained(directory), AutoTokenizer.from_pretrained(directory)


@pytest.mark.parametrize(
    ("mode", "dtype"), [("extend", "float32"), ("extend", "bfloat16"), ("replace", "float32")]
)
def test_only_new_rows_move_and_rare_ones_of_the_head_together(mode, dtype, pair, german, tmp_path):
    change = {"mode": mode, **({"keep": ()} if mode == "replace" else {})}
    plain = transfer(*pair, tmp_path / "plain", **{**settings(german), **change})
    fits = settings(german, input=True, head=True, dtype=dtype)
    fitted = transfer(*pair, tmp_path / "fitted", **{**fits, **change})
    kept = ["the dog"] if mode == "extend" else english_text()
    read, of_kept = (
        torch.tensor([id for text in texts for id in fitted.tokenizer.encode(text, **BARE).ids])
        for texts in (TEXT, islice(kept, 40))
    )
    all_read = torch.cat([read, of_kept[: fitted.head_fit.kept]])
    once, times = (torch.bincount(ids, minlength=len(plain.head)) for ids in (read, all_read))
    learns, is_own = is_new(fitted) & (once > 0), is_new(fitted) & (times > 1)
    assert 10 < is_own.sum() < is_new(fitted).sum()
    assert torch.equal((plain.embedding != fitted.embedding).any(1), learns)
    assert fitted.input_fit.rows == learns.sum()
    moved = fitted.head - plain.head
    assert torch.equal((moved != 0).any(1), is_new(fitted))
    together = moved[is_new(fitted) & ~is_own]
    torch.testing.assert_close(together, together[:1].expand_as(together), rtol=0, atol=1e-6)
    assert (fitted.head_fit.rows, fitted.head_fit.rare) == (is_own.sum(), len(together))
    assert fitted.input_fit.dtype == fitted.head_fit.dtype == dtype
    assert fitted.input_fit.after < fitted.input_fit.before
    assert fitted.head_fit.after < fitted.head_fit.before
    norms = fitted.embedding.norm(dim=1)
    record = fitted.provenance
    torch.testing.assert_close(
        record.norm_ratio, norms[record.new_ids] / norms[record.anchor_ids].mean()
    )

    model, _ = load(tmp_path / "fitted")
    source, _ = load(pair[0])
    assert torch.equal(model.get_input_embeddings().weight, fitted.embedding)
    assert torch.equal(model.get_output_embeddings().weight, fitted.head)
    weights = dict(source.named_parameters())
    for name, weight in model.named_parameters():
        assert "embed" in name or "lm_head" in name or torch.equal(weight, weights[name])
    assert not faults(tmp_path / "fitted")


def nats(model, tokenizer, texts, start):
    """-ln p of every token of the texts, a document at a time, by transformers' own loss."""
    total = 0.0
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        logits = model(torch.tensor([[start, *ids[:-1]]])).logits[0]
        total = total + torch.nn.functional.cross_entropy(
            logits, torch.tensor(ids), reduction="sum"
        )
    return total


@pytest.mark.parametrize("source", ["SmolLM2", "Phi", "Cohere"])
def test_the_head_fit_ends_where_the_whole_models_loss_does(
    source, german, tmp_path, tokenizers_by_family
):
    """Its gradient is what the ridge pulls: bias, scale, old rows and all positions are right."""
    pair = write_pair(tmp_path, tokenizers_by_family, source)
    begun = transfer(*pair, tmp_path / "begun", **settings(german))
    options = settings(german, head=True, ridge=3.0)
    fitted = transfer(*pair, tmp_path / "out", **options)
    model, tokenizer = load(tmp_path / "out")
    start = document_start(*load(pair[0]))
    read = [*TEXT, "the dog"]
    nats(model, tokenizer, read, start).backward()
    gradient = model.get_output_embeddings().weight.grad
    ids, kept = (
        torch.tensor([id for text in texts for id in tokenizer(text, **BARE)["input_ids"]])
        for texts in (TEXT, ["the dog"])
    )
    times = torch.bincount(torch.cat([ids, kept]), minlength=len(fitted.head))
    is_own, is_rare = is_new(fitted) & (times > 1), is_new(fitted) & (times <= 1)
    moved = fitted.head - begun.head
    together = moved[is_rare].mean(0)
    pull = 2 * 3.0 * torch.cat([moved[is_own], together[None]])
    gradient = torch.cat([gradient[is_own], gradient[is_rare].sum(0, keepdim=True)])
    assert (gradient + pull).norm() < 0.05 * pull.norm()
    assert fitted.head_fit.ridge == 3.0
    assert (fitted.head_fit.positions, fitted.head_fit.kept) == (len(ids), len(kept))
    assert fitted.head_fit.new_share == pytest.approx(float(is_new(fitted)[ids].double().mean()))
    with torch.no_grad():
        saved = sum(nats(m, t, read, start) for m, t in [load(tmp_path / "begun")])
        now = nats(model, tokenizer, read, start)
    squares = moved[is_own].square().sum() + together.square().sum()
    change = (now - saved + 3.0 * squares) / (len(ids) + len(kept))
    assert fitted.head_fit.after - fitted.head_fit.before == pytest.approx(float(change), abs=1e-4)


def byte_ends(tokenizer, ids):
    """Where each token of a byte-level tokenizer ends, in bytes."""
    return np.cumsum([len(tokenizer.convert_ids_to_tokens(id)) for id in ids]).tolist()


def test_the_input_fit_compares_states_where_both_cuts_have_read_the_same(pair, german, tmp_path):
    """The first step's loss, by hand: states of transformers, ends of tokens in bytes."""
    transfer(*pair, tmp_path / "plain", **settings(german))
    options = settings(german, input=True, steps=1, documents=len(TEXT), layer=2)
    fitted = transfer(*pair, tmp_path / "out", **options)
    (teacher, old), (student, new) = load(pair[0]), load(tmp_path / "plain")
    start, distances = document_start(teacher, old), []
    hooked = []
    for model in (teacher, student):  # states behind the last layer come before the norm
        model.model.layers[1].register_forward_hook(lambda *args: hooked.append(args[2]))
    for text in TEXT:
        cuts = [t(text, add_special_tokens=False)["input_ids"] for t in (old, new)]
        hooked.clear()
        with torch.no_grad():
            for model, ids in zip((teacher, student), cuts, strict=True):
                model(torch.tensor([[start, *ids]]))
        wanted, found = (states[0, 1:] for states in hooked)
        ends = [byte_ends(tokenizer, ids) for tokenizer, ids in zip((old, new), cuts, strict=True)]
        characters = set(np.cumsum([len(letter.encode()) for letter in text]).tolist())
        for end in set(ends[0]) & set(ends[1]) & characters:
            s, t = found[ends[1].index(end)], wanted[ends[0].index(end)]
            distances.append(float((s - t).square().sum() / t.square().sum()))
    assert fitted.input_fit.places == len(distances)
    assert fitted.input_fit.before == pytest.approx(np.mean(distances), rel=1e-4)
    assert (fitted.input_fit.layer, fitted.input_fit.layers) == (2, 2)


def test_the_same_inputs_give_the_same_bytes(pair, german, tmp_path):
    for name in ("a", "b"):
        transfer(*pair, tmp_path / name, **settings(german, input=True, head=True))
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("a", "b"))
    assert first == second


def test_what_is_done_is_said(untied, german, tmp_path, caplog):
    options = settings(german, input=True, head=True)
    with caplog.at_level(logging.INFO):
        result = transfer(*untied, tmp_path / "out", **options)
    assert "fitting input rows to at most " in caplog.text
    assert "fitting the head's rows to " in caplog.text
    manifest = read_manifest(tmp_path / "out")
    found = manifest["fits"]
    assert found["input"]["documents"] == len(TEXT)
    assert found["input"]["steps"] == 6
    assert found["input"]["seconds"] > 0
    assert found["head"]["seconds"] > 0
    assert found["head"]["ridge"] == (50.0 if found["head"]["new_share"] >= 0.5 else 100.0)
    card = (tmp_path / "out" / "README.md").read_text()
    for fit in (result.input_fit, result.head_fit):
        assert str(fit) in card
        assert str(fit) in manifest["notes"]
    plain = transfer(*untied, tmp_path / "plain", **settings(german))
    assert read_manifest(tmp_path / "plain")["fits"] == {"input": None, "head": None}
    assert plain.input_fit is plain.head_fit is None


@pytest.fixture(scope="module")
def one_row(pair, german, tmp_path_factory):
    """A function that fits sides of a tied model's one row, once for all tests."""
    folder, done = tmp_path_factory.mktemp("one-row"), {}

    def run(**fits):
        name = "-".join(sorted(fits)) or "none"
        if name not in done:
            options = settings(german, **fits) | {"untie": False}
            done[name] = transfer(*pair, folder / name, **options)
        return done[name], folder / name

    return run


def test_the_head_of_a_tied_model_is_fitted_as_if_it_had_one_of_its_own(pair, german, tmp_path):
    tied, untied = (
        transfer(
            *pair,
            tmp_path / str(untie),
            **settings(german, head=True) | {"method": "global-residual", "untie": untie},
        )
        for untie in (False, True)
    )
    assert tied.head is None
    assert torch.equal(tied.embedding, untied.head)  # the same states and start
    assert (tied.head_fit.is_tied, untied.head_fit.is_tied) == (True, False)
    assert "(tied: the input rows too)" in str(tied.head_fit)
    assert "tied" not in str(untied.head_fit)


def test_the_ridge_keeps_the_one_row_near_that_of_the_input_fit(one_row):
    begun, read, both, held = (
        one_row(**fits)[0].embedding
        for fits in ({}, {"input": True}, {"input": True, "head": True}, HELD)
    )
    assert (held - read).norm() < 0.01 * (both - read).norm()
    assert (held - read).norm() < 0.1 * (read - begun).norm()


def test_one_row_is_moved_by_both_fits(one_row):
    (begun, _), (read, _), (both, directory) = (
        one_row(**fits) for fits in ({}, {"input": True}, {"input": True, "head": True})
    )
    assert both.input_fit.after == read.input_fit.after < read.input_fit.before
    assert both.head_fit.after < both.head_fit.before
    moved = both.embedding - read.embedding
    assert torch.equal((moved != 0).any(1), is_new(both))
    unread = is_new(both) & (read.embedding == begun.embedding).all(1)
    assert unread.sum() > 10
    together = moved[unread]  # with all that are rare
    torch.testing.assert_close(together, together[:1].expand_as(together), rtol=0, atol=1e-6)
    norms, record = both.embedding.norm(dim=1), both.provenance
    torch.testing.assert_close(
        record.norm_ratio, norms[record.new_ids] / norms[record.anchor_ids].mean()
    )
    model = AutoModelForCausalLM.from_pretrained(directory)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert torch.equal(model.get_output_embeddings().weight, both.embedding)
    assert not faults(directory)


def test_a_model_that_caps_its_logits_is_fitted(german, tmp_path, tokenizers_by_family):
    pair = write_pair(tmp_path, tokenizers_by_family, "Gemma 2")
    fitted = transfer(*pair, tmp_path / "out", **settings(german, head=True, ridge=1.0))
    begun = transfer(*pair, tmp_path / "begun", **settings(german))
    start = document_start(*load(pair[0]))
    with torch.no_grad():
        read = [*TEXT, "the dog"]
        after, before = (nats(*load(tmp_path / n), read, start) for n in ("out", "begun"))
    moved = (fitted.head - begun.head).square().sum()
    change = (after - before + moved) / (fitted.head_fit.positions + fitted.head_fit.kept)
    assert fitted.head_fit.rare == 0  # their sum would not be what is fitted
    assert change < 0
    assert fitted.head_fit.after - fitted.head_fit.before == pytest.approx(float(change), abs=1e-4)


@pytest.mark.parametrize(
    ("tokens", "given", "expected"),
    [
        (40_960, {}, (20, 10_240, 0.002)),
        (1, {}, (1, 1, 0.002)),
        (8_192, {}, (4, 2048, 0.002)),
        (10**6, {}, (20, 10_240, 0.002)),
        (40_960, {"steps": 7}, (7, 10_240, 0.002)),
        (40_960, {"learning_rate": 0.006}, (20, 10_240, 0.006)),
    ],
)
def test_fits_are_smaller_and_gentler_where_counts_teach(tokens, given, expected):
    fits = FitsConfig(**given)
    taught = fits_for(fits, {"is_taught": True, "tokens": tokens})
    assert (taught.steps, taught.positions, taught.learning_rate) == expected
    assert fits_for(fits, {"is_taught": False, "tokens": tokens}) == fits_for(fits, None) == fits


@given(
    st.lists(st.integers(1, 600), min_size=1, max_size=30), st.integers(1, 9), st.integers(1, 14)
)
def test_a_step_reads_so_many_documents_or_enough_tokens(lengths, steps, documents):
    batches = _batches(lengths, steps, documents)
    assert len(batches) == steps
    read = [number for batch in batches for number in batch]
    assert read == [place % len(lengths) for place in range(len(read))]
    for batch in batches:
        *first, _ = (lengths[number] for number in batch)
        assert len(batch) == documents or sum(lengths[number] for number in batch) >= STEP_TOKENS
        assert sum(first) < STEP_TOKENS
        assert 1 <= len(batch) <= documents


def test_what_counts_must_teach_is_recorded_and_read(pair, german, tmp_path):
    (english := tmp_path / "english.txt").write_text("the dog\n")
    options = {"corpus": [german], "keep": [english], "budget": 1000}
    found = transfer(*pair, tmp_path / "out", **options)
    assert (found.input_fit.steps, found.head_fit.positions) == (1, 250)
    assert tokens_want_ngrams(tmp_path / "out")
    recorded = read_manifest(tmp_path / "out")["options"]["fits"]  # as they were, to do it again
    sizes = (recorded["steps"], recorded["positions"], recorded["learning_rate"])
    assert sizes == (1, 250, 0.002)
    file = tmp_path / "out" / "saltlm" / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"adaptations": [{}]}))
    assert not tokens_want_ngrams(tmp_path / "out")  # it was taught
    transfer(*pair, tmp_path / "few", **options, min_occurrences=2, fits={"steps": 1})
    assert not tokens_want_ngrams(tmp_path / "few")
    assert not tokens_want_ngrams(pair[0])


def test_compare_fits_too(untied, german, tmp_path):
    options = {key: value for key, value in settings(german).items() if key not in TWO}
    options |= {"preset": "best", "vocabulary": "plm", "fits": {"steps": 6, "positions": 50}}
    compare(*untied, tmp_path / "out", methods="mean,fvt", heldout=german, documents=2, **options)
    for name in ("mean", "fvt"):
        found = read_manifest(tmp_path / "out" / name)
        assert found["vocabulary"]["mode"] == "extend"
        assert found["fits"]["input"]["steps"] == 6
        assert found["fits"]["head"]


@pytest.mark.parametrize(
    ("change", "error", "what", "hint"),
    [
        ({"corpus": ()}, ConfigError, "fits.input and fits.head read text", "add --corpus FILE"),
        ({"corpus": ["none.txt"]}, DataError, "none.txt", ""),
        ({"fits": {"head": True, "device": "cuda"}}, ConfigError, "fits.device=cuda", "--set fits"),
        ({"fits": {"input": True, "layer": 3}}, ConfigError, "fits.layer=3, but the", "leave it"),
    ],
)
def test_what_cannot_be_is_refused(change, error, what, hint, pair, german, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(error) as caught:
        transfer(*pair, tmp_path / "out", **{**settings(german, head=True), **change})
    assert what in caught.value.what
    assert caught.value.hint.startswith(hint)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("side", ["input", "head"])
def test_a_source_that_reads_by_a_further_table_is_refused(
    side, german, tmp_path, tokenizers_by_family
):
    pair = write_pair(tmp_path, tokenizers_by_family, "Gemma 3n")
    options = settings(german, **{side: True}) | {"untie": False}
    for verb in (
        lambda: transfer(*pair, tmp_path / "out", **options),
        lambda: inspect(*pair, **options),
    ):
        with pytest.raises(ConfigError, match="reads each token by .*embed_tokens_per_layer") as no:
            verb()
    assert not (tmp_path / "out").exists()
    assert score(*pair, **{**options, "method": "mean"}).best  # which makes no rows to fit
    config = load_config(load_config(**options), re.findall(r"--set (\S+)", no.value.hint))
    assert transfer(*pair, tmp_path / "out", config=config).further


def test_text_without_a_new_token_is_refused(pair, tmp_path):
    (tmp_path / "english.txt").write_text("the dog\n" * 3)
    for side in ("input", "head"):
        options = settings(tmp_path / "english.txt", **{side: True})
        with pytest.raises(ConfigError, match="no token of the corpus is new") as caught:
            transfer(*pair, tmp_path / "out", **options)
    config = load_config(load_config(**options), re.findall(r"--set (\S+)", caught.value.hint))
    assert not config.fits.input
    assert transfer(*pair, tmp_path / "out", config=config).head_fit is None


def test_a_corpus_that_begins_with_other_text_is_fitted(pair, german, tmp_path):
    """From the first document with a new token on, however short the fits are."""
    late = tmp_path / "late.txt"
    late.write_text("the dog\n" * 30 + german.read_text(encoding="utf-8"), encoding="utf-8")
    options = settings(german, input=True, head=True, steps=1, documents=2, positions=20)
    found = [
        transfer(*pair, tmp_path / file.stem, **{**options, "corpus": [file]})
        for file in (german, late)
    ]
    assert found[0].input_fit.rows == found[1].input_fit.rows > 0
    assert torch.equal(found[0].embedding, found[1].embedding)
    assert torch.equal(found[0].head, found[1].head)


@pytest.mark.parametrize("source", ["Molmo 2", "GPT-2"])
def test_a_source_of_few_output_rows_or_few_positions_is_fitted(
    source, german, tmp_path, tokenizers_by_family
):
    """Molmo 2 has input rows without output rows; GPT-2 reads 64 tokens at once."""
    pair = write_pair(tmp_path, tokenizers_by_family, source)
    long = tmp_path / "long.txt"
    long.write_text(" ".join(TEXT) + "\n", encoding="utf-8")
    options = {**settings(german), "corpus": [long]}
    plain = transfer(*pair, tmp_path / "plain", **options)
    fits = {**settings(german, input=True, head=True), "corpus": [long]}
    fitted = transfer(*pair, tmp_path / "fitted", **fits)
    new = is_new(fitted)
    moved = (plain.embedding != fitted.embedding).any(1)
    assert moved.any()
    assert not moved[~new].any()
    assert torch.equal((plain.head != fitted.head).any(1), new[: len(fitted.head)])
    assert (len(fitted.embedding) > len(fitted.head)) == (source == "Molmo 2")


def test_a_source_whose_layers_are_not_found_can_do_without(pair, german, tmp_path, monkeypatch):
    def none(model, otherwise):
        raise CheckpointError("no list of layers", otherwise)

    monkeypatch.setattr("saltlm.models.states.layers_of", none)
    options = settings(german, input=True, head=True, positions=50)
    with pytest.raises(CheckpointError, match="no list of layers") as caught:
        transfer(*pair, tmp_path / "out", **options)
    config = load_config(load_config(**options), re.findall(r"--set (\S+)", caught.value.hint))
    assert transfer(*pair, tmp_path / "out", config=config).head_fit


def test_inspect_counts_the_memory_of_the_fits(pair, german):
    plain, fitted = (inspect(*pair, **settings(german, head=head)) for head in (False, True))
    assert fitted.memory_bytes > plain.memory_bytes


def test_a_source_that_lacks_nothing_is_refused_the_best(pair, tmp_path):
    (english := tmp_path / "english.txt").write_text("the dog\n")
    (german := tmp_path / "german.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")
    with pytest.raises(
        ConfigError, match="no new token occurs often enough in the corpus, for 343"
    ) as no:
        transfer(*pair, tmp_path / "out", corpus=[german], keep=[english], min_occurrences=2)
    assert not (tmp_path / "out").exists()
    way = dict(re.findall(r"--(preset|vocabulary) (\w+)", no.value.hint))
    assert way.keys() == {"preset", "vocabulary"}
    fits = {"steps": 1, "documents": 1}
    assert transfer(*pair, tmp_path / "out", corpus=[german], keep=[english], fits=fits, **way)


def test_presets(tmp_path):
    best = load_config(preset="best", corpus="de.txt")
    method = "global-residual:ridge=0.3:pieces=true"
    assert (best.method, best.vocabulary, best.budget) == (method, "auto", None)
    assert (best.mode, best.untie, best.fits.input, best.fits.head) == ("extend", False, True, True)
    paper = load_config(preset="paper")
    assert (paper.method, paper.mode, paper.aux) == ("salt", "replace", "train")
    assert (paper.untie, paper.fits.input, paper.fits.head) == (False, False, False)
    given = ["preset=best", "corpus=de.txt", "fits.steps=3", "fits.head=false"]
    changed = load_config(None, given, method="fvt")
    assert (changed.method, changed.mode) == ("fvt", "extend")
    assert (changed.fits.steps, changed.fits.input, changed.fits.head) == (3, True, False)
    for options in ({"prune_to": 9}, {"target_tokenizer": "x"}, {"mode": "replace"}):
        assert load_config(preset="best", corpus="de.txt", **options).vocabulary == "plm"
    (tmp_path / "run.yaml").write_text("preset: best\nuntie: true\ncorpus: de.txt\n")
    assert load_config(tmp_path / "run.yaml").model_dump() == {**best.model_dump(), "untie": True}
    assert load_config(best) == best
    with pytest.raises(ConfigError, match="option preset='bset'"):
        load_config(preset="bset")
