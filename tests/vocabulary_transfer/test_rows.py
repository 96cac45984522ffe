"""Where each row of a new table comes from, and that copied rows are copies."""

import numpy as np
import pytest
import torch

from saltlm.alignment.match import FurtherAnchors, VocabularyMatch, no_further_anchors
from saltlm.auxiliary.vectors import AuxiliaryVectors
from saltlm.errors import VocabularyError
from saltlm.record.arrays import Origin
from saltlm.vocabulary_transfer import rows
from saltlm.vocabulary_transfer.rows import new_table, norm_ratio, plan_rows, sample_rows

S, L, D, C = Origin.SHARED, Origin.MADE, Origin.SAMPLED, Origin.SPECIAL

# PLM id (-1: not the PLM's), source id (-1: not the source's), carried special?, expected origin.
# PLM row 2 has no auxiliary vector, PLM row 5 is zero.
TOKENS = {
    "shared": (0, 3, False, S),
    "shared, no vector": (2, 4, False, S),
    "shared, zero row": (5, 6, False, S),
    "new": (1, -1, False, L),
    "new, no vector": (2, -1, False, D),
    "new, zero row": (5, -1, False, D),
    "special": (-1, 7, True, C),
    "special that is a piece of the PLM": (3, 8, True, C),
    "neither's": (-1, -1, False, D),
}


def match_of(tokens):
    plm_ids, source_ids, is_special, _ = zip(*tokens, strict=True)
    return VocabularyMatch(
        torch.tensor(plm_ids), torch.tensor(source_ids), torch.tensor(is_special)
    )


def plm_of(rows=6, width=4, seed=0):
    embedding = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))
    embedding[5] = 0
    represented = torch.ones(rows, dtype=torch.bool)
    represented[2] = False
    return embedding, AuxiliaryVectors(torch.randn(rows, 3), represented, "made up")


def plan_of(tokens, min_shared=1, **options):
    further = options.pop("further", no_further_anchors())
    return plan_rows(match_of(tokens), *plm_of(), further, min_shared=min_shared, **options)


def fixed(made):
    """A method whose rows are known."""
    return lambda part: made[part]


def test_every_token_has_the_origin_that_it_should():
    plan = plan_of(TOKENS.values())
    expected = {name: token[-1].name for name, token in TOKENS.items()}
    found = {name: Origin(o).name for name, o in zip(TOKENS, plan.origin.tolist(), strict=True)}
    assert found == expected
    assert plan.new_ids.tolist() == [3]
    assert [plan.count(origin) for origin in (S, L, D, C)] == [3, 1, 3, 2]


def test_anchors_that_are_made_anew_are_still_anchors():
    plain, anew = (plan_of(TOKENS.values(), copy_shared=copied) for copied in (True, False))
    assert torch.equal(anew.anchor_ids, plain.anchor_ids)
    assert anew.new_ids.tolist() == sorted([*plain.anchor_ids.tolist(), *plain.new_ids.tolist()])
    others = anew.origin != Origin.MADE
    assert torch.equal(anew.origin[others], plain.origin[others])


def test_anchors_are_shared_tokens_with_a_direction():
    names = list(TOKENS)
    anchors = plan_of(TOKENS.values()).anchor_ids.tolist()
    assert [names[id] for id in anchors] == ["shared"]


def test_anchors_that_the_new_model_lacks_stand_behind_the_others_if_they_have_a_direction():
    # PLM row 2 has no vector, row 5 is zero.
    further = FurtherAnchors(
        torch.tensor([2, 3, 4, 5]), torch.tensor([50, 51, 52, 53]), ("a", "b", "c", "d")
    )
    plain = plan_of(TOKENS.values())
    for copied in (True, False):
        plan = plan_of(TOKENS.values(), further=further, copy_shared=copied)
        assert plan.anchor_ids.tolist() == [*plain.anchor_ids.tolist(), -1, -1]
        assert plan.anchor_plm_ids.tolist() == [0, 3, 4]
        assert plan.anchor_source_ids.tolist() == [3, 51, 52]
        assert (plan.anchor_names, plan.n_kept) == (("b", "c"), 1)
    assert plan_of(TOKENS.values(), further=further, min_shared=3).n_kept == 1
    with pytest.raises(VocabularyError, match="share 7 tokens, 3 of them with"):
        plan_of(TOKENS.values(), further=further, min_shared=4)


def test_too_few_anchors_are_refused_with_the_counts():
    assert len(plan_of(TOKENS.values(), min_shared=1).anchor_ids) == 1
    with pytest.raises(VocabularyError) as caught:
        plan_of(TOKENS.values(), min_shared=2)
    assert caught.value.what == (
        "the two vocabularies share 3 tokens, 1 of them with an auxiliary vector; 2 are needed"
    )
    assert "saltlm inspect SOURCE PLM" in caught.value.hint
    assert "--set min_shared=N" in caught.value.hint


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_copied_rows_are_equal_to_the_bit(dtype):
    bits = torch.int32 if dtype is torch.float32 else torch.int16
    source = torch.randn(9, 4, generator=torch.Generator().manual_seed(1)).to(dtype)
    source[3] = torch.tensor([-0.0, 0.0, torch.finfo(dtype).tiny / 4, torch.finfo(dtype).max])
    made = torch.randn(1, 4, generator=torch.Generator().manual_seed(2))
    match, plan = match_of(TOKENS.values()), plan_of(TOKENS.values())

    table = new_table(source, 9, plan, match, fixed(made), seed=5)

    assert table.dtype == dtype
    copied = match.source_ids >= 0
    assert torch.equal(table[copied].view(bits), source[match.source_ids[copied]].view(bits))
    assert torch.equal(table[plan.new_ids], made.to(dtype))
    sampled = sample_rows(source, 3, 5).to(dtype)
    assert torch.equal(table[plan.origin == D], sampled)


def many(n_new, n_shared=4, n_sampled=5):
    """A vocabulary in which the three kinds of tokens take turns as long as they last."""
    tokens = [(1, -1, False, L)] * n_new + [(0, 3, False, S)] * n_shared
    tokens += [(2, -1, False, D)] * n_sampled
    order = np.random.default_rng(0).permutation(len(tokens))
    return [tokens[place] for place in order]


@pytest.mark.parametrize("n_new", [0, 1, 6, 7])
def test_rows_made_a_few_at_a_time_are_the_same(n_new, monkeypatch):
    source = torch.randn(40, 4, generator=torch.Generator().manual_seed(1))
    made = torch.randn(n_new, 4, generator=torch.Generator().manual_seed(2))
    match, plan = match_of(many(n_new)), plan_of(many(n_new))
    whole = new_table(source, 40, plan, match, fixed(made), seed=0)
    assert torch.equal(whole[plan.new_ids], made)
    ratio = norm_ratio(whole, source, plan)

    monkeypatch.setattr(rows, "_CHUNK", 3)
    parts = new_table(source, 40, plan_of(many(n_new)), match, fixed(made), seed=0)
    torch.testing.assert_close(parts, whole, atol=1e-6, rtol=1e-6)
    assert torch.equal(norm_ratio(parts, source, plan), ratio)


def test_padding_counts_for_nothing():
    source = torch.randn(40, 4, generator=torch.Generator().manual_seed(1))
    padded = torch.cat([source, torch.full((24, 4), 1e4)])
    match, plan, made = match_of(many(3)), plan_of(many(3)), torch.ones(3, 4)
    tables = [new_table(t, 40, plan, match, fixed(made), seed=0) for t in (source, padded)]
    assert torch.equal(*tables)


def test_sampled_rows_have_the_mean_and_deviation_of_each_dimension():
    source = torch.randn(50, 3, generator=torch.Generator().manual_seed(1))
    source = source * torch.tensor([1.0, 1e-2, 5.0]) + torch.tensor([0.0, 3.0, -100.0])
    drawn = sample_rows(source, 20_000, seed=0).double().numpy()
    table = source.double().numpy()
    mean, deviation = table.mean(0), table.std(0)
    assert np.all(np.abs(drawn.mean(0) - mean) < 5 * deviation / np.sqrt(20_000))
    np.testing.assert_allclose(drawn.std(0), deviation, rtol=0.03)
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.03  # per dimension: no covariance


def test_the_seed_decides_what_is_drawn():
    source = torch.randn(50, 3, generator=torch.Generator().manual_seed(1))
    first, again, other = (sample_rows(source, 7, seed) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.isclose(first, other).any()
    torch.manual_seed(9)
    assert torch.equal(sample_rows(source, 7, 3), first)  # whatever else was drawn before
    assert sample_rows(source, 0, 3).shape == (0, 3)


def test_norm_ratio_is_over_the_mean_norm_of_the_anchors_rows_in_the_source():
    plan = plan_of(
        [(0, 1, False, S), (1, -1, False, L), (3, 2, False, S), (2, 0, False, S)],
        further=FurtherAnchors(torch.tensor([4]), torch.tensor([3]), ("a",)),
    )
    assert plan.anchor_ids.tolist() == [0, 2, -1]  # that of row 2 has no vector, and does not count
    source = torch.tensor([[900.0, 0.0], [3.0, 4.0], [15.0, 0.0], [0.0, 40.0]])
    table = torch.tensor([[3.0, 4.0], [0.0, 30.0], [15.0, 0.0], [900.0, 0.0]])
    assert norm_ratio(table, source, plan).tolist() == [1.5]
