from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import outcomes, ranks
from small_model import model_config, pretrain_config

from data_prep.errors import UserError
from pipeline.checkpoint.store import CheckpointManifest, CheckpointStore
from pipeline.checkpoint.writer import load_weights
from pipeline.config.schema import PretrainConfig
from pipeline.model.gpt import GPT
from pipeline.pretrain import pretrain
from pipeline.train import engine


def _whole(run: Path) -> list[int]:
    """Steps of the checkpoints, all of which are whole."""
    checkpoints = CheckpointStore(run / "checkpoints", 99)
    for step in checkpoints.steps():
        CheckpointManifest.load(checkpoints.path(step)).verify(checkpoints.path(step))
    return checkpoints.steps()


def test_a_full_disk_stops_every_rank_and_spares_what_is_there(small_dataset: Path, small_disk: Path) -> None:
    config = pretrain_config(small_dataset, small_disk, checkpoint={"every": 1, "keep_last": 99})
    for one in outcomes(2, pretrain, config, timeout=60):
        assert isinstance(one.error, UserError), one.trace
        assert "no space left on the device" in str(one.error)
        assert "free some space" in str(one.error)
    steps = _whole(small_disk / "run")
    assert steps == list(range(1, len(steps) + 1))
    assert 1 <= len(steps) < 8
    assert not list((small_disk / "run" / "checkpoints").glob("*.tmp"))
    # With room, it goes on.
    keep_one = pretrain_config(small_dataset, small_disk, checkpoint={"every": 8, "keep_last": 1})
    for step in steps[:-1]:
        for path in sorted((small_disk / "run" / "checkpoints" / f"step_{step:08d}").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        (small_disk / "run" / "checkpoints" / f"step_{step:08d}").rmdir()
    assert [one["step"] for one in ranks(2, pretrain, keep_one)] == [8, 8]


def _disk_of_one_rank_is_full(config: PretrainConfig, rank: int) -> dict[str, Any]:
    if int(os.environ["RANK"]) == rank:
        saved, original = 0, torch.save

        def save(*args: Any) -> None:
            nonlocal saved
            saved += 1
            if saved > 2:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            original(*args)

        engine.torch.save = save
    return pretrain(config)


@pytest.mark.parametrize(
    ("rank", "stage"),
    [pytest.param(0, 1, marks=pytest.mark.slow), pytest.param(1, 1), pytest.param(1, 3, marks=pytest.mark.slow)],
)
def test_a_disk_that_is_full_on_one_rank_stops_all(small_dataset: Path, tmp_path: Path, rank: int, stage: int) -> None:
    config = pretrain_config(
        small_dataset, tmp_path, checkpoint={"every": 1, "keep_last": 99}, parallel={"zero_stage": stage}
    )
    for one in outcomes(2, _disk_of_one_rank_is_full, config, rank, timeout=60):
        assert isinstance(one.error, UserError), one.trace
        assert "no space left on the device" in str(one.error)
    assert len(_whole(tmp_path / "run")) in (1, 2)
    assert not list((tmp_path / "run" / "checkpoints").glob("*.tmp"))


def test_canonical_weights_fill_a_plain_module(pretrained: Path) -> None:
    manifest = CheckpointManifest.load(pretrained)
    module = GPT(model_config(d_model=32), manifest.model["vocab_size"])
    found = load_weights(module, str(pretrained), manifest.model)
    assert found == manifest
    assert module.embedding.weight.std() > 0.02
    assert module.embedding.weight.dtype == torch.float32


def test_a_checkpoint_of_another_shape_names_what_differs(pretrained: Path) -> None:
    expected = {**CheckpointManifest.load(pretrained).model, "n_layer": 3, "vocab_size": 50_257}
    module = GPT(model_config(n_layer=3, d_model=32), 50)
    before = [parameter.clone() for parameter in module.parameters()]
    with pytest.raises(UserError, match=r"another model shape: n_layer 2 \(here 3\), vocab_size \d+ \(here 50257\)"):
        load_weights(module, str(pretrained), expected)
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True) if a.isfinite().all())
