"""Document masking: a window of several documents computes what each of them computes alone."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from small_model import model_config, random_tokens
from torch import Tensor

from pipeline.model.gpt import GPT, document_numbers, documents_of
from pipeline.model.init import initialize
from pipeline.model.loss import IGNORE

VOCAB = 30
END = VOCAB - 1


def gpt(**changes: Any) -> GPT:
    config = model_config(sequence_length=24, document_mask=True, **changes)
    model = GPT(config, VOCAB).eval()
    initialize(model, config, 3)
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
    return model


def packed() -> tuple[Tensor, Tensor, list[tuple[int, slice]]]:
    """Two windows, their targets, and where their documents lie: (row, columns)."""
    tokens = random_tokens((2, 24), END)
    ends = [[4, 5, 17], [0, 23]]  # a document of one token, one that is cut by the window, one that ends with it
    pieces = []
    for row, places in enumerate(ends):
        tokens[row, places] = END
        borders = [0, *(place + 1 for place in places)] + ([24] if places[-1] != 23 else [])
        pieces += [(row, slice(a, b)) for a, b in pairwise(borders)]
    return tokens, torch.cat([tokens[:, 1:], random_tokens((2, 1), VOCAB, 5)], 1), pieces


def test_an_end_of_text_is_the_last_token_of_its_document() -> None:
    tokens = torch.tensor([[7, END, 3, 4, END, END, 1], [END, 1, 1, 1, 1, 1, END]])
    assert document_numbers(tokens, END).tolist() == [[0, 0, 1, 1, 1, 2, 3], [0, 1, 1, 1, 1, 1, 1]]
    assert documents_of(model_config(), VOCAB, tokens) is None
    found = documents_of(model_config(document_mask=True), VOCAB, tokens)
    assert found is not None
    assert found.dtype == torch.int32


@pytest.mark.parametrize(
    "changes",
    [{}, {"norm": "post"}, {"attention": "alternating", "band_width": 3}, {"attention": "alternating"}],
    ids=["pre", "post", "banded", "band wider than a window"],
)
def test_loss_and_gradients_equal_those_of_the_documents_alone(changes: dict[str, Any]) -> None:
    together, alone = gpt(**changes), gpt(**changes)
    tokens, targets, pieces = packed()
    targets[0, 9] = IGNORE
    out = together(tokens, targets)
    out["loss"].backward()
    total = torch.zeros(())
    for row, at in pieces:
        one = alone(tokens[row : row + 1, at], targets[row : row + 1, at])
        total = total + one["loss"] * one["targets"] / out["targets"]
    torch.testing.assert_close(out["loss"], total, rtol=1e-6, atol=1e-6)
    total.backward()
    for (name, mine), theirs in zip(together.named_parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-6, msg=name)


@torch.no_grad()
def test_another_document_changes_nothing() -> None:
    model, packing = gpt(), gpt()
    packing.config = packing.config.model_copy(update={"document_mask": False})
    tokens, _, _ = packed()
    other = tokens.clone()
    other[0, 1] = (other[0, 1] + 1) % END
    assert torch.equal(model.hidden(tokens)[0, 6:], model.hidden(other)[0, 6:])
    assert not torch.equal(packing.hidden(tokens)[0, 6:], packing.hidden(other)[0, 6:])
