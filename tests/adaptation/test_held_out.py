"""How much of a run is spent on held-out text, by counts."""

from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from adapt_models import TOKENIZER, save_model
from conftest import CORPUS
from saltlm.adaptation.config import AdaptConfig
from saltlm.adaptation.held_out import plan_measuring, reading_costs
from saltlm.adaptation.new_tokens import new_token_measures
from saltlm.adaptation.objective import CAUSAL
from saltlm.adaptation.prepare import new_rows


def config(**options):
    return AdaptConfig.model_validate({"data": {"x.txt": None}, **options})


def forward(config, costs, n_steps, found, has_source):
    """Count the tokens of a run's measurements and of its steps, as the engine does both."""
    steps = [step for step in range(1, n_steps + 1) if step % found.every == 0 or step == n_steps]
    times = 1 + len(steps) + has_source
    assert times == found.times
    measured = times * sum(sum(text[: found.documents]) for text in costs)
    return measured, 3 * n_steps * config.batch_tokens


TEXTS = st.lists(st.lists(st.integers(1, 2000), min_size=1, max_size=200), min_size=1, max_size=3)


@given(TEXTS, st.integers(1, 3000), st.sampled_from([256, 512, 4096]), st.booleans())
def test_measurements_are_a_tenth_of_a_run_at_most(costs, n_steps, batch, has_source):
    options = config(batch_tokens=batch)
    found = plan_measuring(options, costs, n_steps, has_source=has_source)
    measured, trained = forward(options, costs, n_steps, found, has_source)
    assert found.share == pytest.approx(measured / (measured + trained))
    assert found.every >= 100
    assert found.share <= 0.1 or (found.documents <= 10 and found.every >= n_steps)
    if found.documents < min(200, max(map(len, costs))):  # one document more would be too much
        more = (2 + has_source) * sum(sum(text[: found.documents + 1]) for text in costs)
        assert more > 0.1 * (more + trained)
    elif 100 < found.every < n_steps:  # so would one measurement more
        more = measured / found.times * (found.times + 1)
        assert more > 0.1 * (more + trained)


def test_a_run_of_an_evening_on_a_laptop():
    """100,000 tokens: two texts of 50 documents every 50 steps were a quarter of it."""
    costs = [[200] * 200, [180] * 200]
    found = plan_measuring(config(batch_tokens=512), costs, 196, has_source=True)
    assert (found.every, found.documents, found.times) == (196, 29, 3)
    assert str(found) == (
        "held-out text is measured 3 times, at most 29 documents of each: about 10% of the run's"
        " work (eval_every, eval_documents)"
    )
    long = plan_measuring(config(), costs, 1526, has_source=True)
    assert (long.every, long.documents, long.times) == (100, 200, 18)


@pytest.mark.parametrize(
    ("options", "every", "documents"),
    [
        ({"eval_every": 50, "eval_documents": 50}, 50, 50),
        ({"eval_every": 50}, 50, 17),
        ({"eval_documents": 20}, 100, 20),
        ({"eval_documents": 150}, 196, 150),
        ({"eval_documents": 4}, 100, 4),
    ],
)
def test_what_is_given_stays(options, every, documents):
    given = config(batch_tokens=512, **options)
    found = plan_measuring(given, [[200] * 200, [180] * 200], 196)
    assert (found.every, found.documents) == (every, documents)


def test_the_tokens_that_a_measurement_reads_are_counted(tmp_path):
    directory, context = save_model(tmp_path / "model"), 12
    model = AutoModelForCausalLM.from_pretrained(directory)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=TOKENIZER, eos_token="<|endoftext|>")
    is_new = new_rows(directory, model.config.vocab_size)
    texts = CORPUS[:3]
    seen = Mock(return_value=None)
    model.register_forward_pre_hook(lambda *given: seen(given[2]), with_kwargs=True)
    CAUSAL.measure(model, tokenizer, texts, context=context, stride=6, batch=1)
    new_token_measures(model, tokenizer, texts, is_new, context=context, chunk_logits=10**6)
    read = [call.args[0]["input_ids"].numel() for call in seen.call_args_list]
    costs = reading_costs(CAUSAL, tokenizer, {"de": texts}, context, has_new_rows=True)
    assert sum(map(sum, costs)) == sum(read) - 1  # and one by which the logits are checked
