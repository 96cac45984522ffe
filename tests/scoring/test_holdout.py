"""Folds that do not leak, and scores against plain numpy."""

import dataclasses
import json
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import BPE

from saltlm.errors import ConfigError
from saltlm.methods.calibration import Calibration, Unigrams
from saltlm.methods.fit import fit_method
from saltlm.methods.inputs import MethodInputs, Texts
from saltlm.methods.registry import METHODS, Choice, choose_method, parse_method
from saltlm.scoring.folds import distinct, draw_folds, hold_out, strata_of
from saltlm.scoring.holdout import judge, score_briefly, score_methods
from saltlm.scoring.search import select_options, variants
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.vocabulary import Form


def make_pair(n=120, h_t=6, h_s=5, noise=0.2, seed=0):
    """A source whose rows are nearly a linear image of the PLM's."""
    generator = torch.Generator().manual_seed(seed)
    plm = torch.randn(n + 10, h_t, generator=generator)
    table = torch.randn(200, h_s, generator=generator)
    ids = torch.randperm(200, generator=generator)[:n]
    table[ids] = plm[:n] @ torch.randn(h_t, h_s, generator=generator)
    table[ids] += noise * torch.randn(n, h_s, generator=generator)
    return MethodInputs(plm[:n], plm[n:], plm[:n], plm[n:], ids, n_source_tokens=200), table


def choices(*texts):
    return [parse_method(text) for text in texts]


@given(
    st.lists(st.integers(0, 4), min_size=10, max_size=200), st.integers(2, 5), st.integers(0, 99)
)
def test_folds_divide_the_tokens_and_every_stratum(strata, n_folds, seed):
    strata = torch.tensor(strata)
    folds = draw_folds(strata, n_folds, seed)
    assert torch.cat(folds).sort().values.tolist() == list(range(len(strata)))
    for stratum in strata.unique():
        sizes = [int((strata[fold] == stratum).sum()) for fold in folds]
        assert max(sizes) - min(sizes) <= 1
    assert all(map(torch.equal, folds, draw_folds(strata, n_folds, seed)))


def test_folds_of_another_seed_are_others():
    strata = torch.zeros(50, dtype=torch.int64)
    assert not torch.equal(draw_folds(strata, 5, 0)[0], draw_folds(strata, 5, 1)[0])


def with_texts(inputs):
    n = len(inputs.shared_ids)
    forms = [Form((f"a{i}" if i % 3 else f"я{i}").encode(), True) for i in range(n + 10)]
    nothing = Definition.of(Tokenizer(BPE()))
    texts = Texts(nothing, nothing, [None] * 200, forms, list(range(n)), list(range(n, n + 10)))
    object.__setattr__(inputs, "texts", texts)
    return inputs


def test_strata_are_scripts_and_quarters_by_frequency():
    inputs, _ = make_pair(n=120)
    inputs = with_texts(inputs)
    strata = strata_of(inputs)
    is_latin = torch.arange(120) % 3 > 0
    assert len(strata[is_latin].unique()) == len(strata[~is_latin].unique()) == 4
    assert not set(strata[is_latin].tolist()) & set(strata[~is_latin].tolist())
    assert strata[is_latin].tolist() == sorted(strata[is_latin].tolist())
    counts = torch.arange(130)  # the later the more frequent
    assert torch.equal(strata_of(inputs, counts)[is_latin], strata[is_latin].flip(0))


def test_held_out_tokens_are_the_new_ones_and_their_rows_are_closed():
    inputs, _ = make_pair()
    inputs = with_texts(inputs)
    held = torch.tensor([3, 50, 7])
    part = hold_out(inputs, held)
    assert torch.equal(part.plm_new, inputs.plm_shared[[3, 7, 50]])
    assert torch.equal(part.held_out_ids, inputs.shared_ids[[3, 7, 50]])
    assert part.texts.new_plm_ids == [3, 7, 50]
    assert len(part.plm_shared) == len(part.shared_ids) == len(part.texts.shared_plm_ids) == 117
    assert not set(part.shared_ids.tolist()) & set(part.held_out_ids.tolist())
    assert part.is_one_space
    assert not set(part.source_ids.tolist()) & set(part.held_out_ids.tolist())


def test_only_tokens_of_the_new_model_are_held_out(monkeypatch):
    inputs, table = make_pair()
    ids = inputs.shared_ids.clone()
    ids[110], ids[111] = ids[3], ids[100]  # a kept token's row, and one that is only learnt from
    inputs = dataclasses.replace(inputs, shared_ids=ids, n_kept=80)
    single = distinct(inputs)
    assert (len(single.shared_ids), single.n_kept) == (118, 80)
    assert len(strata_of(inputs)) == 80
    part = hold_out(single, torch.tensor([0, 79]))
    assert (part.n_kept, len(part.shared_ids)) == (78, 116)
    seen = []
    monkeypatch.setattr(
        "saltlm.scoring.holdout.judge",
        lambda rows, truth, mean: seen.append((truth, mean)) or judge(rows, truth, mean),
    )
    (score,) = score_methods(inputs, table, choices("global"))
    assert score.n_tokens == 80
    asked = torch.cat([truth for truth, _ in seen])
    assert sorted(map(tuple, asked.tolist())) == sorted(map(tuple, table[ids[:80]].tolist()))
    others = torch.cat([truth for truth, _ in seen[1:]])
    torch.testing.assert_close(seen[0][1], others.double().mean(0).float())


def test_a_row_that_two_tokens_copy_counts_once():
    inputs, table = make_pair()
    ids = inputs.shared_ids.clone()
    ids[5], ids[9] = ids[2], ids[2]
    object.__setattr__(inputs, "shared_ids", ids)
    single = distinct(inputs)
    assert len(single.shared_ids) == 118 == len(single.shared_ids.unique())
    assert len(single.held_out_ids) == 0
    assert torch.equal(single.plm_shared[5], inputs.plm_shared[6])
    assert score_methods(inputs, table, choices("global"))[0].r2 is not None


@pytest.mark.parametrize("name", [n for n in METHODS if n not in ("fvt", "wechsel", "first-piece")])
def test_no_method_sees_what_it_is_asked_for(name):
    """Rows of held-out tokens are wrecked; what is predicted for them must not change."""
    inputs, table = make_pair()
    part = hold_out(inputs, torch.arange(0, 120, 5))
    wrecked = table.clone()
    wrecked[part.held_out_ids] = torch.nan
    before, after = (
        fit_method(choose_method(name), part).fill(rows)(slice(0, 24)) for rows in (table, wrecked)
    )
    assert torch.equal(before, after)


def test_scores_equal_plain_numpy():
    generator = torch.Generator().manual_seed(0)
    truth, noise = (torch.randn(30, 4, generator=generator) for _ in range(2))
    mean = truth.mean(0)
    rows = truth + 0.4 * noise
    found = judge(rows, truth, mean).numpy().sum(0)
    y, p, mu = truth.double().numpy(), rows.double().numpy(), mean.double().numpy()
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
    cosines = unit(p - mu) @ unit(y - mu).T
    wanted = [
        np.square(p - y).sum(),
        np.square(y - mu).sum(),
        np.trace(cosines),
        np.linalg.norm(p, axis=1).sum(),
        np.linalg.norm(y, axis=1).sum(),
        (cosines.argmax(1) == np.arange(30)).sum(),
        30,
    ]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_a_linear_source_is_what_a_linear_map_predicts():
    inputs, table = make_pair(noise=0.0)
    exact, mean, drawn = score_methods(inputs, table, choices("global", "mean", "multivariate"))
    assert exact.r2.value > 0.999
    assert exact.cosine.value > 0.999
    assert exact.retrieval.value == 1
    assert abs(exact.norm_ratio.value - 1) < 0.01
    assert exact.ahead is None
    assert mean.r2.value < 0.05
    assert mean.ahead.high < -0.9
    assert drawn.r2.value < -0.3
    assert drawn.retrieval.value < 0.3


def test_intervals_hold_the_value_and_shrink_with_more_tokens():
    widths = []
    for n in (120, 480):
        inputs, table = make_pair(n=n) if n == 120 else make_big_pair()
        (score,) = score_methods(inputs, table, choices("focus"))
        assert score.r2.low < score.r2.value < score.r2.high
        widths.append(score.r2.high - score.r2.low)
    assert widths[1] < 0.8 * widths[0]


def make_big_pair():
    generator = torch.Generator().manual_seed(0)
    plm = torch.randn(490, 6, generator=generator)
    table = torch.randn(500, 5, generator=generator)
    table[:480] = plm[:480] @ torch.randn(6, 5, generator=generator)
    table[:480] += 0.2 * torch.randn(480, 5, generator=generator)
    ids = torch.arange(480)
    return MethodInputs(plm[:480], plm[480:], plm[:480], plm[480:], ids, n_source_tokens=500), table


def test_scores_depend_on_the_seed_only():
    inputs, table = make_pair()
    first, again, other = (
        score_methods(inputs, table, choices("focus"), seed=seed)[0] for seed in (0, 0, 1)
    )
    assert first.r2 == again.r2
    assert first.r2 != other.r2


def test_repeats_and_single_folds():
    inputs, table = make_pair()
    once = score_methods(inputs, table, choices("focus"), n_used=1)[0].r2
    often = score_methods(inputs, table, choices("focus"), repeats=4)[0].r2
    assert once.high - once.low > often.high - often.low


def test_a_look_in_passing_is_one_fold_of_a_fifth_or_a_thousand_tokens(monkeypatch):
    inputs, table = make_pair()
    brief = score_briefly(inputs, table, choose_method("focus"))
    (fold,) = score_methods(inputs, table, choices("focus"), n_used=1)
    assert brief.n_tokens == 24
    assert brief.r2 == fold.r2
    assert score_methods(inputs, table, choices("focus"))[0].n_tokens == 120
    monkeypatch.setattr("saltlm.scoring.holdout._BRIEF", 12)
    assert score_briefly(inputs, table, choose_method("focus")).n_tokens == 12
    few, table = make_pair(n=9)
    assert score_briefly(few, table, choose_method("focus")) is None


def test_calibrations_are_done_to_what_is_scored():
    inputs, table = make_pair(noise=1.0)
    plain, scaled = (
        score_methods(inputs, table, choices("focus"), calibration=Calibration(norms=norms))[0]
        for norms in (False, True)
    )
    assert plain.norm_ratio.value < 0.9
    assert scaled.norm_ratio.value == pytest.approx(1, abs=0.01)


def test_unigrams_of_held_out_tokens_are_their_own(monkeypatch):
    inputs, table = make_pair()
    ids = inputs.shared_ids.clone()
    ids[9] = ids[2]  # the yardstick leaves this token out
    object.__setattr__(inputs, "shared_ids", ids)
    hidden, logs = torch.linspace(-1, 2, 5), torch.linspace(0.1, 0.9, 120).log()
    seen = []
    monkeypatch.setattr(
        "saltlm.scoring.holdout.judge",
        lambda rows, truth, mean: seen.append((rows, truth)) or judge(rows, truth, mean),
    )
    calibration = Calibration(unigrams=Unigrams(hidden, logs, torch.zeros(10)))
    score_methods(inputs, table, choices("global"), calibration=calibration)
    assert len(seen) == 5
    for rows, truth in seen:
        held = (table[ids].unsqueeze(1) == truth).all(2).any(1)
        held[9] = False
        known = ~held
        known[9] = False
        level = (table[ids[known]] @ hidden - logs[known]).mean()
        torch.testing.assert_close(rows @ hidden, logs[held] + level, atol=1e-3, rtol=1e-3)


def test_one_failing_method_does_not_stop_the_rest(caplog):
    inputs, table = make_pair()
    tried = [choose_method("fvt"), choose_method("salt", {"centred": True}), *choices("focus")]
    fvt, salt, focus = score_methods(inputs, table, tried)
    assert "fvt reads the tokens' texts" in fvt.error
    assert "needs a ridge" in salt.error
    assert focus.r2 is not None
    assert focus.ahead is None
    assert "fvt is left out" in caplog.text
    json.dumps([score.to_json() for score in (fvt, salt, focus)], allow_nan=False)


def test_rows_that_are_not_finite_are_an_error():
    inputs, table = make_pair()
    table[inputs.shared_ids[0]] = torch.inf
    (score,) = score_methods(inputs, table, choices("clp"))
    assert "predicted rows are not finite" in score.error


@pytest.mark.parametrize("n_folds", [1, 61])
def test_folds_that_cannot_be(n_folds):
    inputs, table = make_pair()
    with pytest.raises(ConfigError, match=f"{n_folds} folds of 120 shared tokens") as caught:
        score_methods(inputs, table, choices("mean"), n_folds=n_folds)
    most = int(re.fullmatch(r"choose 2 to (\d+) folds", caught.value.hint)[1])
    assert score_methods(inputs, table, choices("mean"), n_folds=most, n_used=1)[0].n_tokens == 2


def test_variants_begin_with_the_published_method():
    for name in METHODS:
        found = variants(name)
        assert found[0] == choose_method(name)
        assert len({str(choice) for choice in found}) == len(found)
        assert bool(METHODS[name].search) == (len(found) > 1)


def test_select_takes_the_best_variant_and_says_how_long_the_rest_takes(caplog):
    inputs, table = make_pair(noise=4.0)
    with caplog.at_level("INFO", "saltlm"):
        (chosen,) = select_options(inputs, table, ["global"])
    (told,) = caplog.messages  # on a busy machine it says so too
    assert told.startswith(f"{len(variants('global')) - 1} more options of methods: about 0 s")
    assert isinstance(chosen, Choice)
    assert chosen.options["ridge"] == 0.1
