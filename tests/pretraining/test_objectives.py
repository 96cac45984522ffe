"""What is hidden, and what it costs: against transformers' own losses."""

from contextlib import nullcontext
from functools import partial

import pytest
import torch

from saltlm.adaptation.loss import causal_loss, into_gradients
from saltlm.pretraining import objectives
from saltlm.pretraining.models import new_model
from saltlm.pretraining.objectives import (
    WordTable,
    _loss,
    hide_spans,
    hide_words,
    predict_spans,
    predict_words,
)
from saltlm.pretraining.sizes import Size

TINY = Size("mini", 16, 2, 2, 64, 1e-3)
N = 40
WORDS = WordTable(
    begins=torch.arange(N) % 3 == 0,  # of 30, 31, 32 the first
    is_text=torch.arange(N) >= 5,
    n_bytes=torch.arange(N),
)


def test_words_are_hidden_whole():
    torch.manual_seed(0)
    tokens = torch.tensor([[0, 30, 31, 32, 33, 34, 1, 36, 37, 38, 30, 31]]).repeat(400, 1)
    hidden = hide_words(tokens, WORDS, 0.3)
    for first, last in ((1, 3), (4, 5), (7, 9), (10, 11)):
        assert (hidden[:, first : last + 1].sum(1) % (last - first + 1) == 0).all()
        assert hidden[:, first].float().mean() == pytest.approx(0.3, abs=0.07)
    assert not hidden[:, [0, 6]].any()  # special tokens


def test_text_without_spaces_is_hidden_in_parts():
    torch.manual_seed(0)
    hidden = hide_words(torch.full((200, 18), 31), WORDS, 0.5)
    parts = hidden.view(200, 3, 6)
    assert (parts.all(2) | ~parts.any(2)).all()
    assert ((parts[:, 0] != parts[:, 1]).any(1)).any()


def test_hidden_words_cost_what_transformers_says(monkeypatch):
    monkeypatch.setattr(objectives, "_MASKED", 1.0)
    model = new_model("bert", TINY, N, {"pad": 0}, 16, 0)
    tokens = torch.randint(5, N, (3, 16))
    torch.manual_seed(1)
    found = predict_words(model, tokens, words=WORDS, mask=4, share=0.4)
    torch.manual_seed(1)
    hidden = hide_words(tokens, WORDS, 0.4)
    labels = torch.where(hidden, tokens, -100)
    loss = model(input_ids=torch.where(hidden, 4, tokens), labels=labels).loss
    assert found.n_targets == int(hidden.sum()) > 3
    assert found.n_bytes == int(tokens[hidden].sum())
    torch.testing.assert_close(found.nats / found.n_targets, loss)


def test_a_document_does_not_see_the_one_before():
    model = new_model("bert", TINY, N, {"pad": 0}, 16, 0)
    tokens = torch.randint(5, N, (2, 16))
    tokens[1, 8:] = tokens[0, 8:]
    positions = torch.arange(8).repeat(2)[None].expand(2, -1)
    mask = objectives.same_document(positions)
    with torch.no_grad():
        apart = model(input_ids=tokens, attention_mask=mask).logits[:, 8:]
        joined = model(input_ids=tokens).logits[:, 8:]
    torch.testing.assert_close(apart[0], apart[1])
    assert not torch.allclose(joined[0], joined[1])


def test_spans_put_back_give_the_sequence():
    torch.manual_seed(0)
    sentinels = torch.arange(1000, 1030)
    for n in (2, 3, 17, 200):
        tokens = torch.arange(n)
        seen, written = hide_spans(tokens, sentinels, 999, 0.15)
        assert written[-1] == 999
        spans, part = {}, None
        for token in written[:-1].tolist():
            if token >= 1000:
                part = spans.setdefault(token, [])
            else:
                part.append(token)
        back = [x for token in seen.tolist() for x in (spans[token] if token >= 1000 else [token])]
        assert back == tokens.tolist()
        assert sum(map(len, spans.values())) == max(1, round(0.15 * n))
        assert all(spans.values())


def test_hidden_spans_cost_what_transformers_says():
    model = new_model("t5", TINY, N, {"pad": 0, "eos": 1}, 16, 0)
    tokens, sentinels = torch.randint(10, N, (2, 16)), torch.arange(2, 9)
    torch.manual_seed(1)
    found = predict_spans(
        model, tokens, words=WORDS, sentinels=sentinels, end=1, start=0, share=0.3
    )
    torch.manual_seed(1)
    pairs = [hide_spans(row, sentinels, 1, 0.3) for row in tokens]
    seen, labels = (torch.stack(part) for part in zip(*pairs, strict=True))
    torch.testing.assert_close(
        found.nats / found.n_targets, model(input_ids=seen, labels=labels).loss
    )
    assert found.n_bytes == int(labels.sum())


@pytest.mark.parametrize("arch", ["gpt", "bert", "t5"])
def test_gradients_are_the_same_where_those_of_a_table_are_added_at_once(arch):
    """Of two batches; what is hidden is scaled behind the head's loss, not by it."""
    tokens = torch.randint(10, N, (4, 17), generator=torch.Generator().manual_seed(0))
    more = {"words": WORDS, "share": 0.3}
    loss = {
        "gpt": causal_loss,
        "bert": partial(_loss, predict=partial(predict_words, mask=4, **more)),
        "t5": partial(
            _loss,
            predict=partial(predict_spans, sentinels=torch.arange(2, 9), end=1, start=0, **more),
        ),
    }[arch]
    models = [new_model(arch, TINY, N, {"pad": 0, "eos": 1}, 16, 0).double() for _ in range(2)]
    for model, is_added in zip(models, (False, True), strict=True):
        torch.manual_seed(1)
        for part in tokens.split(2):
            with into_gradients(model, 0.25) if is_added else nullcontext():
                (loss(model, part) * 0.25).backward()
    for (name, a), b in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-9, atol=1e-12, msg=name)
