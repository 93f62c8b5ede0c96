from __future__ import annotations

import pytest
import torch
from small_model import tokenizer_bytes
from torch import Tensor

from pipeline.checkpoint.store import Cursor
from pipeline.config.schema import SamplesConfig
from pipeline.data.order import key
from pipeline.train.samples import TextSamples, continue_prompts, draw


class Counter:
    """Says that the likeliest next token is the last one plus one, and records what it is given."""

    def __init__(self, vocab_size: int = 50) -> None:
        self.vocab_size, self.seen = vocab_size, list[list[list[int]]]()

    def next_logits(self, tokens: Tensor, last: Tensor) -> Tensor:
        self.seen.append([row[: int(end) + 1].tolist() for row, end in zip(tokens, last, strict=True)])
        ids = tokens[torch.arange(len(last)), last]
        return torch.nn.functional.one_hot((ids + 1) % self.vocab_size, self.vocab_size).float() * 3


def config(**changes: object) -> SamplesConfig:
    return SamplesConfig.model_validate({"every": 1, "prompts": ["the cat"], "tokens": 5, "temperature": 0, **changes})


def test_each_prompt_is_continued_from_its_own_end() -> None:
    model = Counter()
    assert continue_prompts(model, [[3, 4], [9]], 100, config()) == [[5, 6, 7, 8, 9], [10, 11, 12, 13, 14]]
    assert model.seen[2] == [[3, 4, 5, 6], [9, 10, 11]]


def test_the_model_sees_the_end_of_what_is_longer_than_its_context() -> None:
    model = Counter()
    assert continue_prompts(model, [[1, 2, 3, 4], [30]], 3, config()) == [[5, 6, 7, 8, 9], [31, 32, 33, 34, 35]]
    assert model.seen[0] == [[2, 3, 4], [30]]
    assert model.seen[4] == [[6, 7, 8], [32, 33, 34]]


def test_the_draw_follows_the_softmax_and_its_seed() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0]]).expand(4000, 3)
    found = draw(logits, 0.5, torch.Generator().manual_seed(1))
    expected = torch.softmax(torch.tensor([0.0, 2.0, 4.0]), 0)
    torch.testing.assert_close(torch.bincount(found).double() / 4000, expected.double(), rtol=0, atol=0.02)
    assert torch.equal(found, draw(logits, 0.5, torch.Generator().manual_seed(1)))
    assert draw(logits[:2], 0.0, torch.Generator()).tolist() == [2, 2]


def test_texts_are_the_same_each_time_and_leave_the_random_state_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, two, other = (
        continue_prompts(Counter(), [[3], [4]], 100, config(temperature=2.0, tokens=20, seed=seed))
        for seed in (1, 1, 2)
    )
    assert one == two != other
    assert torch.equal(torch.get_rng_state(), before)
    assert key(1, "text samples") != key(2, "text samples")


def test_a_page() -> None:
    texts = TextSamples(config(prompts=["the cat", "a dog sees"]), tokenizer_bytes(), 16)
    page = texts.text(Counter(300), Cursor(7, 84, 1344), "tokens")
    assert page.startswith("step 7, 1,344 tokens; temperature 0, seed 0\n")
    assert "the cat[...]" in page
    assert "a dog sees[...]" in page


@pytest.mark.parametrize("bad", [{"prompts": []}, {"prompts": [""]}, {"temperature": -1}, {"tokens": 0}])
def test_settings_that_say_nothing_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        config(**bad)
