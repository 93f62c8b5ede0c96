import math

import torch

from pipeline.model.loss import IGNORE, lm_loss, token_nll

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
