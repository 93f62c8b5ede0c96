from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path

import pytest
import torch
from harness import ranks
from hypothesis import given, settings
from hypothesis import strategies as st
from small_model import finetune_config, random_tokens, write_task

from data_prep.errors import UserError
from pipeline.checkpoint.pieces import state_file
from pipeline.evaluate.model import Scorer, Window, windows_of
from pipeline.finetune.run import finetune
from pipeline.model.loss import IGNORE

PREFIX = -1


def test_windows_of_a_text_by_hand() -> None:
    assert list(windows_of([10, 11, 12, 13, 14, 15, 16], PREFIX, 4, 2, 9)) == [
        Window([PREFIX, 10, 11, 12], [10, 11, 12, 13], 9),
        Window([11, 12, 13, 14], [IGNORE, IGNORE, 14, 15], 9),
        Window([12, 13, 14, 15], [IGNORE, IGNORE, IGNORE, 16], 9),
    ]
    assert list(windows_of([10, 11], PREFIX, 4, 4, 0)) == [Window([PREFIX, 10], [10, 11], 0)]
    assert list(windows_of([], PREFIX, 4, 4, 0)) == []


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 60), st.integers(1, 12), st.data())
def test_every_token_is_scored_once_with_all_the_context_that_fits(size: int, length: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, length))
    ids = list(range(100, 100 + size))
    inputs = [PREFIX, *ids[:-1]]
    scored: list[int] = []
    for window in windows_of(ids, PREFIX, length, stride, 0):
        assert len(window.tokens) == len(window.targets) <= length
        fresh = [target for target in window.targets if target != IGNORE]
        assert window.targets[-len(fresh) :] == fresh
        assert len(fresh) <= (stride if scored else length)
        scored += fresh
        assert window.tokens == inputs[max(0, len(scored) - length) : len(scored)]
    assert scored == ids


@pytest.fixture(scope="module")
def windows() -> list[Window]:
    found = []
    for number, size in enumerate((3, 40, 16, 1, 25)):
        ids = random_tokens((size,), 290, seed=number).tolist()
        found += list(windows_of(ids, 299, 16, 5, number))
    return found


@torch.no_grad()
def test_scores_are_sums_of_log_probabilities(pretrained: Path, windows: list[Window]) -> None:
    scorer = Scorer(str(pretrained))
    found = list(scorer.nll(iter(windows)))
    assert [owner for owner, _ in found] == [window.owner for window in windows]
    for window, (_, score) in zip(windows, found, strict=True):
        log_probabilities = scorer.model.logits(torch.tensor([window.tokens]))[0].log_softmax(-1)
        asked = [(i, t) for i, t in enumerate(window.targets) if t != IGNORE]
        assert score == pytest.approx(-sum(log_probabilities[i, t].item() for i, t in asked), abs=1e-4)


def test_windows_are_scored_as_they_come(pretrained: Path, windows: list[Window]) -> None:
    """An endless stream is scored piece by piece, not collected."""
    scores = Scorer(str(pretrained)).nll(itertools.cycle(windows))
    assert len(list(itertools.islice(scores, 10))) == 10


def test_a_checkpoint_that_cannot_be_scored_is_refused(pretrained: Path, tmp_path: Path) -> None:
    write_task(tmp_path / "task", train=8)
    config = finetune_config(pretrained, tmp_path / "task", tmp_path, train={"epochs": 1})
    checkpoint = ranks(1, finetune, config)[0]["checkpoint"]
    with pytest.raises(UserError, match="written by finetune; give a pretraining one"):
        Scorer(checkpoint)
    damaged = Path(shutil.copytree(pretrained, tmp_path / "damaged"))
    os.truncate(damaged / state_file(0), 7)
    with pytest.raises(UserError, match="has 7 bytes, the manifest says"):
        Scorer(str(damaged))
