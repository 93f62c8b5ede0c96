"""Reading in pieces, with padding and branches, against one forward pass over everything."""

from __future__ import annotations

import pytest
import torch
from small_model import random_tokens
from tiny_models import KINDS, random_model
from torch import Tensor

from pipeline.model.cache import Cache
from pipeline.model.gpt import GPT

ROWS, TIME = 5, 60


@pytest.fixture(scope="module", params=sorted(KINDS))
def model(request: pytest.FixtureRequest) -> GPT:
    return random_model(request.param)


@pytest.fixture(scope="module")
def tokens() -> Tensor:
    """With ends of documents at the border of a piece, before it, behind it, and two in a row."""
    found = random_tokens((ROWS, TIME), 290)
    for row, place in ((0, 16), (1, 8), (2, 13), (3, 0), (3, 1), (4, 40)):
        found[row, place] = 299
    return found


def piece(tokens: Tensor, rows: list[int], cache: Cache, counts: list[int], columns: int) -> tuple[Tensor, Tensor]:
    """The next tokens of each row, padded on the right with tokens that must not matter."""
    found = torch.full((len(rows), columns), 7)
    for place, (row, count) in enumerate(zip(rows, counts, strict=True)):
        begin = int(cache.lengths[place])
        found[place, :count] = tokens[row, begin : begin + count]
    return found, torch.tensor(counts)


@torch.no_grad()
def test_pieces_branches_and_padding_change_nothing(model: GPT, tokens: Tensor) -> None:
    whole = model.hidden(tokens)
    cache = model.cache(ROWS)

    def read(rows: list[int], cache: Cache, counts: list[int], columns: int, keep: bool = True) -> None:
        begins = cache.lengths.tolist()
        hidden = model.read(*piece(tokens, rows, cache, counts, columns), cache, keep)
        for place, (row, begin, count) in enumerate(zip(rows, begins, counts, strict=True)):
            torch.testing.assert_close(hidden[place, :count], whole[row, begin : begin + count], rtol=1e-3, atol=1e-3)

    read(list(range(ROWS)), cache, [17, 9, 13, 3, 16], 20)
    rows = [4, 0, 0, 3, 1, 2]
    branch = cache.branch(torch.tensor(rows))
    read(rows, branch, [4, 2, 6, 6, 1, 3], 8)
    for _ in range(3):  # the branch grows in place, token by token
        read(rows, branch, [1] * 6, 1)
    # A branch of a branch that has read nothing, and once more behind it, only looked at.
    again = branch.branch(torch.tensor([5, 1])).branch(torch.tensor([1, 0, 0]))
    read([0, 2, 2], again, [5, 5, 4], 5, keep=False)
    # What was branched from is as it was.
    read(list(range(ROWS)), cache, [2, 9, 9, 3, 1], 9)
    read(rows, branch, [2] * 6, 2)


@torch.no_grad()
def test_a_long_text_grows_beyond_the_first_room(tokens: Tensor) -> None:
    model = random_model("banded")
    whole = model.hidden(tokens)
    cache = model.cache(ROWS)
    one = torch.ones(ROWS, dtype=torch.int64)
    found = [model.read(tokens[:, place : place + 1], one, cache) for place in range(TIME)]
    torch.testing.assert_close(torch.cat(found, 1), whole, rtol=1e-3, atol=1e-3)
    assert cache.lengths.tolist() == [TIME] * ROWS
