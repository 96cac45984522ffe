"""A head that is skipped does nothing, and is as it was behind that."""

import pytest
import torch

from saltlm.models.logits import output_head, skipped_head
from tiny_models import SOURCES


def test_a_skipped_head_is_not_run_and_what_it_would_see_is_caught():
    model = SOURCES["Llama"](41).eval()
    head = output_head(model)
    ids = torch.tensor([[5, 1, 7], [2, 2, 0]])
    with torch.no_grad():
        logits = model(input_ids=ids).logits
        with skipped_head(head) as received:
            skipped = model(input_ids=ids).logits
        assert skipped.shape == (2, 1, 41)
        assert not skipped.any()
        assert len(received) == 1
        assert torch.equal(head(received[0]), logits)
        assert torch.equal(model(input_ids=ids).logits, logits)


def test_a_model_may_change_the_zeros_in_place():
    head = torch.nn.Linear(2, 3)
    with skipped_head(head):
        logits = head(torch.ones(2, 4, 2))
        logits *= 2
    assert logits.shape == (2, 1, 3)


def test_a_forward_of_the_heads_own_is_put_back_behind_an_error_too():
    head = torch.nn.Linear(2, 3)
    with pytest.raises(KeyError), skipped_head(head):
        raise KeyError
    assert "forward" not in vars(head)
    head.forward = own = torch.nn.Identity().forward
    with skipped_head(head) as received:
        head(torch.ones(1, 4, 2))
    assert received[0].shape == (1, 4, 2)
    assert head.forward is own
