"""Whole runs in pipeline stages and tensor-parallel slices."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dying import killed_in_step
from harness import outcomes, ranks
from run_folder import assert_same_run, losses, metrics, weights
from small_model import model_config, pretrain_config

from data_prep.errors import UserError
from pipeline.config.schema import PretrainConfig
from pipeline.pretrain import pretrain


def config(dataset: Path, runs: Path, **changes: Any) -> PretrainConfig:
    return pretrain_config(dataset, runs, optimizer={"lr": 1e-2, "eps": 1e-4}, **changes)


def test_a_killed_run_goes_on_exactly(small_dataset: Path, tmp_path: Path) -> None:
    model = model_config(dropout=0.1, vocab_multiple=4).model_dump()
    settings = {"model": model, "parallel": {"pipeline": 2}, "precision": "bf16"}
    whole = config(small_dataset, tmp_path / "whole", **settings)
    ranks(2, pretrain, whole)
    cut = config(small_dataset, tmp_path / "cut", **settings)
    _, killed = outcomes(2, killed_in_step, cut, 6, 1)
    assert killed.exit_code == -signal.SIGKILL
    first, _ = outcomes(2, pretrain, cut)
    assert first.trace == ""
    assert "resumed at step 4 from" in first.output
    assert_same_run(tmp_path / "whole" / "run", tmp_path / "cut" / "run")


def test_stages_and_slices_do_not_change_a_run(small_dataset: Path, tmp_path: Path) -> None:
    """Losses, validation and the checkpoint's weights of PP 2 x TP 2 are those of one rank."""
    runs = {"one": (1, {}), "four": (4, {"pipeline": 2, "tensor": 2})}
    for name, (size, parallel) in runs.items():
        model = model_config(vocab_multiple=4, document_mask=True).model_dump()
        ranks(size, pretrain, config(small_dataset, tmp_path, run={"name": name}, model=model, parallel=parallel))
    np.testing.assert_allclose(losses(tmp_path / "four"), losses(tmp_path / "one"), rtol=0, atol=2e-6)
    final = [metrics(tmp_path / name)[-1][2] for name in runs]
    assert final[1]["val/loss"] == pytest.approx(final[0]["val/loss"], abs=2e-6)
    expected = weights(tmp_path / "one")
    found = weights(tmp_path / "four")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=2e-5, err_msg=name)


@pytest.mark.parametrize(
    ("size", "changes", "message"),
    [
        (3, {"parallel": {"pipeline": 2}}, "3 ranks are not a multiple of parallel.pipeline 2 x parallel.tensor 1"),
        (2, {"parallel": {"tensor": 2}, "model": {"vocab_multiple": 7}}, "set model.vocab_multiple to a multiple of 2"),
        (1, {"precision": "fp16"}, "precision fp16 needs a GPU; use bf16 or fp32"),
    ],
)
def test_ranks_that_cannot_do_it_say_so(
    small_dataset: Path, tmp_path: Path, size: int, changes: dict[str, Any], message: str
) -> None:
    for one in outcomes(size, pretrain, config(small_dataset, tmp_path / "runs", **changes)):
        assert isinstance(one.error, UserError), one.trace
        assert message in str(one.error)
    assert not (tmp_path / "runs").exists()
