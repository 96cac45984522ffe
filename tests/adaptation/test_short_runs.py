"""What is chosen for the length of a run, and that what was given stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltlm.adaptation.config import AdaptConfig
from saltlm.adaptation.short_runs import keep_recorded, settle, step_size


def config(**options):
    return AdaptConfig.model_validate({"data": {"x.txt": None}, **options})


def settled(n_tokens, *, has_new_rows=True, **options):
    about = {"is_fitted", "wants_ngrams", "n_positions"} & options.keys()
    of_model = {name: options.pop(name) for name in about}
    return settle(config(**options), n_tokens, has_new_rows=has_new_rows, **of_model)


def kinds(found):
    return [stage.kind for stage in found.config.stages]


@pytest.mark.parametrize(
    ("n_tokens", "options", "every"),
    [
        (20_480, {}, 20),  # 80 steps of 256: a kill once cost an hour
        (20_480, {"preset": "laptop"}, 20),
        (300, {}, 1),
        (2_000 * 65_536, {}, 500),
        (10**9, {}, 500),
        (20_480, {"save_every": 70}, 70),
    ],
)
def test_a_run_of_any_length_is_saved_four_times_or_more(n_tokens, options, every):
    assert settled(n_tokens, **options).config.save_every == every


@pytest.mark.parametrize(
    ("n_tokens", "step"),
    [(1_000, 256), (65_535, 256), (65_536, 512), (102_400, 512), (1_000_000, 4096)],
)
def test_a_short_run_has_enough_steps(n_tokens, step):
    found = settled(n_tokens).config
    assert (step_size(n_tokens), found.batch_tokens) == (step, step)
    assert (found.sequence_length, found.warmup, found.decay) == (min(step, 512), 0.15, 1.0)
    assert found.batch_tokens % found.sequence_length == 0
    rate = 2e-4 if step == 256 else 3e-4
    assert (found.lr.body, found.lr.shared) == (rate, rate)
    assert found.lr.new == pytest.approx(10 * rate)


def test_with_a_teacher_steps_are_smaller_and_small_ones_longer():
    assert [settled(102_400, teacher=one).config.batch_tokens for one in (None, "plm")] == [
        512,
        256,
    ]
    assert settled(41_000).config.lr.body == 2e-4
    assert settled(41_000, teacher="plm").config.lr.body == 3e-4
    assert settled(41_000, teacher="plm", lr={"body": 1e-5}).config.lr.body == 1e-5
    assert settled(10**8, teacher="plm").config.lr == settled(10**8).config.lr


def test_tokens_that_counts_must_teach_get_them_in_a_short_run():
    found = settled(41_000, wants_ngrams=True)
    assert (found.config.teacher, found.config.english_share) == ("ngrams", 0.05)
    assert found.config.lr.body == 3e-4  # as with a teacher that was given
    assert "n-grams of the text as teacher" in found.reason
    assert found.config == settled(41_000, teacher="ngrams").config
    for options in ({"teacher": "none"}, {"teacher": "plm"}, {"wants_ngrams": False}):
        given = settled(41_000, **{"wants_ngrams": True, **options})
        assert given.config.teacher == config(teacher=options.get("teacher")).teacher
        assert "n-grams" not in given.reason
    assert settled(1_000_001, wants_ngrams=True).config.teacher is None


def test_a_teacher_needs_more_english():
    english = {"english": ["e.txt"]}
    for how in ({"wants_ngrams": True}, {"teacher": "ngrams"}, {"teacher": "plm"}):
        found = settled(41_000, **how, **english)
        assert found.config.texts == {"x.txt": None, "e.txt": 0.15}
        assert "15% English" in found.reason
        assert settled(41_000, **how, **english, english_share=0.3).config.english_share == 0.3
        shares = {"data": {"x.txt": 0.9, "y.txt": None}}  # else they could come to more than 1
        assert settled(41_000, **how, **english, **shares).config.english_share == 0.05
    assert settled(41_000, **english).config.english_share == 0.05
    before = keep_recorded(config(teacher="ngrams", **english), {"english_share": 0.1})
    assert settle(before, 41_000, has_new_rows=True).config.english_share == 0.1


def test_a_long_run_is_as_it_was():
    found = settled(200 * 65_536)
    left = found.config.model_copy(update={"stages": (), "save_every": 500})
    assert left == config()
    assert kinds(found) == ["embeddings", "full"]
    assert found.config.stages[0].share == 0.1
    assert found.reason == "chosen for a long run (13,107,200 tokens): stages embeddings, full"


@pytest.mark.parametrize(
    "where", [{"n_tokens": 10**5}, {"is_fitted": True}, {"has_new_rows": False}]
)
def test_new_rows_have_no_stage_of_their_own(where):
    assert kinds(settled(**{"n_tokens": 10**9, **where})) == ["full"]


def test_what_was_chosen_is_told():
    assert settled(41_000).reason == (
        "chosen for a short run (41,000 tokens): 256 tokens a step, 256 in a sequence, a warm-up of"
        " 15% of the steps, then down to zero, rates of 0.0002 and 0.002 for new rows, stages full"
    )


@given(st.integers(1, 10**9), st.booleans(), st.booleans())
def test_nothing_that_was_given_changes(n_tokens, has_new_rows, is_fitted):
    options = {"batch_tokens": 96, "sequence_length": 32, "warmup": 0.02, "decay": 0.2}
    options |= {"stages": ["lora"], "lr": {"new": 1e-3, "shared": 3e-4, "body": 1e-5}}
    options |= {"save_every": 500}
    found = settled(n_tokens, has_new_rows=has_new_rows, is_fitted=is_fitted, **options)
    assert found.config == config(**options)
    assert found.reason == ""
    partly = settled(n_tokens, lr={"body": 1e-5}).config.lr
    assert partly.body == 1e-5


def test_steps_are_not_made_smaller_where_their_number_is_given():
    assert settled(4 * 65_536, steps=4).config.batch_tokens == 65_536


@given(st.integers(1, 10**8), st.integers(2, 3000), st.integers(8, 4000))
def test_sequences_fit_steps_and_models(n_tokens, given_length, n_positions):
    of_model = settled(n_tokens, n_positions=n_positions).config
    assert of_model.batch_tokens % of_model.sequence_length == 0
    assert of_model.sequence_length <= n_positions
    asked = settled(n_tokens, sequence_length=given_length).config
    assert asked.sequence_length == given_length
    assert asked.batch_tokens % given_length == 0 < asked.batch_tokens
    batch = settled(n_tokens, batch_tokens=given_length).config
    assert batch.batch_tokens == given_length
    assert given_length % batch.sequence_length == 0


def test_a_run_that_gets_longer_goes_on_as_it_began():
    begun = settled(41_000, tokens="41k", lr={"body": 1e-4}).config
    longer = keep_recorded(config(tokens="1M", lr={"body": 1e-4}), begun.model_dump(mode="json"))
    again = settle(longer, 10**6, has_new_rows=True).config
    assert again == begun.model_copy(update={"tokens": 10**6, "save_every": 500})
    other = keep_recorded(config(tokens="1M", decay=0.5, stages=["lora"]), begun.model_dump())
    assert (other.decay, other.stages[0].kind, other.batch_tokens) == (0.5, "lora", 256)
    assert keep_recorded(config(), {}) == config()
