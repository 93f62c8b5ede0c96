import math

import pytest
import torch

from pipeline.model.loss import IGNORE, head_logits, lm_loss, token_nll

HIDDEN = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
WEIGHT = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
TARGETS = torch.tensor([[1, IGNORE, 4], [0, 2, IGNORE]])


def expected() -> list[list[float]]:
    values = []
    for row in range(2):
        line = []
        for position in range(3):
            scores = [float((HIDDEN[row, position] * WEIGHT[token]).sum()) for token in range(5)]
            target = int(TARGETS[row, position])
            line.append(0.0 if target == IGNORE else math.log(sum(map(math.exp, scores))) - scores[target])
        values.append(line)
    return values


def test_sum_and_count_leave_out_what_is_ignored() -> None:
    nll, count = lm_loss(HIDDEN, WEIGHT, TARGETS)
    assert int(count) == 4
    torch.testing.assert_close(nll.item(), sum(map(sum, expected())), rtol=1e-5, atol=0)


def test_nll_of_each_token() -> None:
    torch.testing.assert_close(token_nll(HIDDEN, WEIGHT, TARGETS), torch.tensor(expected()))


def test_nothing_asked_is_zero_with_a_zero_gradient() -> None:
    hidden = HIDDEN.clone().requires_grad_()
    nll, count = lm_loss(hidden, WEIGHT, torch.full((2, 3), IGNORE))
    nll.backward()
    assert (nll.item(), int(count)) == (0.0, 0)
    assert hidden.grad is not None
    assert not hidden.grad.any()


def test_softmax_is_taken_in_float32() -> None:
    nll, _ = lm_loss(HIDDEN.bfloat16(), WEIGHT.bfloat16(), TARGETS)
    assert nll.dtype == torch.float32
    assert token_nll(HIDDEN.bfloat16(), WEIGHT.bfloat16(), TARGETS).dtype == torch.float32


@pytest.mark.parametrize("chunk", [1, 4, 5, 6, 100])
@pytest.mark.parametrize("vocab_size", [None, 3])
def test_chunks_change_rounding_alone(chunk: int, vocab_size: int | None) -> None:
    targets = TARGETS.clamp(max=2) if vocab_size == 3 else TARGETS
    found = []
    for size in (0, chunk):
        hidden, weight = HIDDEN.clone().requires_grad_(), WEIGHT.clone().requires_grad_()
        nll, count = lm_loss(hidden, weight, targets, vocab_size, size)
        (nll / count).backward()
        found.append((nll, count, hidden.grad, weight.grad))
    for plain, chunked in zip(*found, strict=True):
        torch.testing.assert_close(chunked, plain, rtol=1e-6, atol=1e-6)
    each = token_nll(HIDDEN, WEIGHT, targets, vocab_size, chunk)
    torch.testing.assert_close(each, token_nll(HIDDEN, WEIGHT, targets, vocab_size))
    assert each.shape == targets.shape


def test_chunks_never_hold_all_logits() -> None:
    """The largest tensor that is kept for the backward pass, in numbers."""
    kept: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    hidden = torch.randn(2, 64, 4, requires_grad=True)
    weight = torch.randn(50, 4, requires_grad=True)
    targets = torch.zeros((2, 64), dtype=torch.int64)
    largest = []
    for chunk in (0, 8):
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            lm_loss(hidden, weight, targets, chunk=chunk)
        largest.append(max(kept))
    assert largest[0] == 2 * 64 * 50
    assert largest[1] < 2 * 64 * 50 / 8


def test_padded_rows_have_no_probability_and_no_gradient() -> None:
    hidden, weight = HIDDEN.clone().requires_grad_(), WEIGHT.clone().requires_grad_()
    with torch.no_grad():
        weight[3:] = 100.0  # would take all the probability
    targets = TARGETS.clamp(max=2)
    nll, _ = lm_loss(hidden, weight, targets, 3)
    torch.testing.assert_close(nll, lm_loss(hidden, weight[:3], targets)[0])
    nll.backward()
    assert weight.grad is not None
    assert not weight.grad[3:].any()
    logits = head_logits(hidden, weight, 3)
    assert logits.shape == (2, 3, 3)
    torch.testing.assert_close(logits.softmax(-1).sum(-1), torch.ones(2, 3))
