"""Real runs with what long ones need: a batch ramp, skipped samples, text samples, profiles, changed data."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path
from typing import Any

import pytest
from dying import killed_in_step
from harness import outcomes, ranks
from run_folder import assert_same_run, losses, metrics
from small_model import model_config, pretrain_config, write_dataset

from data_prep.errors import UserError
from pipeline.checkpoint.store import CheckpointManifest, Cursor
from pipeline.config.schema import PretrainConfig
from pipeline.data.batches import PackedWindows
from pipeline.data.sources import open_data
from pipeline.pretrain import pretrain

LENGTH = 16
BATCHES = [4, 4, 4, 4, 8, 8, 8, 12, 12, 12]
"""Of a ramp from 4 to 12 samples over 50 samples, in passes of 4."""


def ramp_config(dataset: Path, runs: Path, **changes: Any) -> PretrainConfig:
    settings = {
        "model": model_config(dropout=0.1).model_dump(),
        "train": {"tokens": sum(BATCHES) * LENGTH, "batch_ramp": {"start": 4, "tokens": 50 * LENGTH}},
        "checkpoint": {"every": 2},
        "validation": {"every": 5},
        "log": {"per_layer": True},
        "samples": {"every": 4, "prompts": ["the cat sees", "nobody"], "tokens": 6},
        "profile": {"start": 1, "steps": 2},
    }
    return pretrain_config(dataset, runs, **{**settings, **changes})


@pytest.fixture(scope="module")
def ramped(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The run folder of a whole run on two ranks, and what it printed; not to be written to."""
    runs = tmp_path_factory.mktemp("whole")
    first, second = outcomes(2, pretrain, ramp_config(small_dataset, runs, parallel={"zero_stage": 3}))
    assert (first.trace, second.trace) == ("", "")
    return runs / "run", first.output


def test_the_batch_grows_as_its_schedule_says(ramped: tuple[Path, str]) -> None:
    run, output = ramped
    rows = [(step, tokens, values) for step, tokens, values in metrics(run) if "train/loss" in values]
    assert [values["train/global_batch"] for _, _, values in rows] == BATCHES
    assert [tokens for _, tokens, _ in rows] == [sum(BATCHES[:n]) * LENGTH for n in range(1, 11)]
    assert CheckpointManifest.load(run / "checkpoints" / "latest").cursor == Cursor(10, 76, 76 * LENGTH)
    assert "batch ramp: 4 to 12 samples over 800 tokens in 8 steps, in whole passes of 4 samples" in output
    assert "ramp.start 4 is less" not in output


def test_a_run_that_is_killed_on_the_ramp_goes_on_exactly(
    small_dataset: Path, ramped: tuple[Path, str], tmp_path: Path
) -> None:
    """Killed in the sixth step, behind the checkpoint of the fourth; the ramp ends with the eighth."""
    config = ramp_config(small_dataset, tmp_path, parallel={"zero_stage": 3})
    _, killed = outcomes(2, killed_in_step, config, 6, 1)
    assert killed.exit_code == -signal.SIGKILL
    first, _ = outcomes(2, pretrain, config)
    assert "resumed at step 4 from" in first.output
    assert_same_run(ramped[0], tmp_path / "run")
    for page in ("step_00000004.txt", "step_00000008.txt", "step_00000010.txt"):
        assert (tmp_path / "run" / "samples" / page).read_bytes() == (ramped[0] / "samples" / page).read_bytes()


def test_on_the_ramp_the_passes_must_stay_as_they_were(small_dataset: Path, tmp_path: Path) -> None:
    def config(steps: int, micro_batch: int) -> PretrainConfig:
        return pretrain_config(
            small_dataset,
            tmp_path,
            schedule={"kind": "constant"},
            train={
                "tokens": sum(BATCHES[:steps]) * LENGTH,
                "batch_ramp": {"start": 4, "tokens": 50 * LENGTH},
                "micro_batch": micro_batch,
            },
        )

    ranks(1, pretrain, config(4, 4))
    (one,) = outcomes(1, pretrain, config(8, 2))
    assert isinstance(one.error, UserError)
    assert "in which a batch ramp grows, is not what this run was started with (4 -> 2)" in str(one.error)
    ranks(1, pretrain, config(8, 4))
    ranks(1, pretrain, config(10, 2))  # behind the ramp every pass divides the batch
    assert [
        values.get("train/global_batch") for _, _, values in metrics(tmp_path / "run") if "train/lr" in values
    ] == BATCHES


def test_what_is_watched_changes_nothing_of_the_training(
    small_dataset: Path, ramped: tuple[Path, str], tmp_path: Path
) -> None:
    silent = {"log": {}, "samples": None, "profile": None, "parallel": {"zero_stage": 3}}
    ranks(2, pretrain, ramp_config(small_dataset, tmp_path, **silent))
    assert losses(tmp_path / "run") == losses(ramped[0])


def test_what_is_seen(ramped: tuple[Path, str]) -> None:
    run, output = ramped
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rows = [line["metrics"] for line in lines if "train/loss" in line["metrics"]]
    for row in rows:
        squares = [value**2 for name, value in row.items() if name.startswith("train/grad_norm/")]
        assert len(squares) == 5
        assert sum(squares) == pytest.approx(row["train/grad_norm"] ** 2, rel=1e-4)
        assert 0 <= row["perf/data_wait"] <= 1
        assert row["perf/memory_gib"] > 0.05
        assert row["perf/tokens_per_s"] > 0
        assert "perf/mfu" not in row  # a CPU has no peak that one knows
    page = (run / "samples" / "step_00000008.txt").read_text()
    assert "the cat sees[...]" in page
    artifacts = json.loads((run / "run.json").read_text())["artifacts"]
    assert [name for name in artifacts if name.startswith("samples/")] == [
        "samples/step_00000004.txt",
        "samples/step_00000008.txt",
        "samples/step_00000010.txt",
    ]
    assert [path.name for path in (run / "profile").iterdir()] == ["steps_2-3.json"]
    line = next(line for line in output.splitlines() if line.startswith("step 10/10"))
    for part in ("tokens 1,216", "loss ", "batch 12", "lr ", "grad_norm ", "tokens/s", "data_wait ", "GiB", "eta 0:00"):
        assert part in line


def test_mfu_with_a_stated_peak(small_dataset: Path, tmp_path: Path) -> None:
    config = pretrain_config(small_dataset, tmp_path, log={"peak_flops": 1e10}, train={"tokens": 2 * 192})
    (one,) = outcomes(1, pretrain, config)
    assert "MFU: share of 0.01 TFLOP/s (log.peak_flops) on each of 1 ranks" in one.output
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])["metrics"]
    assert 0 < row["perf/mfu"] < row["perf/mfu_full_attention"]


def test_stages_say_what_they_cannot_show(small_dataset: Path, tmp_path: Path) -> None:
    config = ramp_config(small_dataset, tmp_path, parallel={"pipeline": 2}, model=model_config().model_dump())
    first, second = outcomes(2, pretrain, config)
    assert (first.trace, second.trace) == ("", "")
    assert "log.per_layer gives nothing: the model lies in pipeline stages" in first.output
    assert "samples gives nothing: the model lies in pipeline stages" in first.output
    assert not (tmp_path / "run" / "samples").exists()


def test_data_that_changed_stops_a_resume_unless_it_is_named(small_dataset: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "other", seed=1)

    def config(dataset: Path, steps: int, **data: Any) -> PretrainConfig:
        settings = {"train": {"tokens": steps * 192}, "schedule": {"kind": "constant"}, "checkpoint": {"every": 4}}
        return pretrain_config(dataset, tmp_path, data={"path": str(dataset), **data}, **settings)

    ranks(1, pretrain, config(small_dataset, 4))
    (one,) = outcomes(1, pretrain, config(tmp_path / "other", 8))
    assert isinstance(one.error, UserError)
    prefix = str(one.error).partition("data.allow_changed=")[2][:12]
    (one,) = outcomes(1, pretrain, config(tmp_path / "other", 8, allow_changed="0" * 12))
    assert isinstance(one.error, UserError)
    (one,) = outcomes(1, pretrain, config(tmp_path / "other", 8, allow_changed=prefix))
    assert one.trace == ""
    assert "WARNING: other data from step 5 on" in one.output
    assert "it is read from sample 48 of its own order" in one.output
    # From then on it is the run's data.
    (one,) = outcomes(1, pretrain, config(tmp_path / "other", 12))
    assert one.trace == ""
    assert "verified before and unchanged since" in one.output


def test_skipped_samples_are_not_read_and_stay_skipped(small_dataset: Path, tmp_path: Path) -> None:
    def config(name: str, steps: int, **data: Any) -> PretrainConfig:
        settings = {"train": {"tokens": steps * 192}, "schedule": {"kind": "constant"}, "checkpoint": {"every": 2}}
        data = {"path": str(small_dataset), **data}
        return pretrain_config(small_dataset, tmp_path, run={"name": name}, data=data, **settings)

    ranks(1, pretrain, config("plain", 6))
    ranks(1, pretrain, config("skipping", 2))
    ranks(1, pretrain, config("skipping", 4, skip=[[30, 40], [38, 50]]))
    ranks(1, pretrain, config("skipping", 6))
    found = CheckpointManifest.load(tmp_path / "skipping" / "checkpoints" / "latest").cursor
    assert found == Cursor(6, 72 + 20, 72 * LENGTH, ((30, 50),))
    one, other = losses(tmp_path / "plain"), losses(tmp_path / "skipping")
    assert one[:2] == other[:2]
    assert all(a != b for a, b in zip(one[2:], other[2:], strict=True))


def test_length_by_epochs(small_dataset: Path, tmp_path: Path) -> None:
    train = {"tokens": None, "epochs": 0.25}
    (result,) = ranks(1, pretrain, pretrain_config(small_dataset, tmp_path, train=train))
    windows = PackedWindows(open_data(str(small_dataset)), LENGTH, 7).windows
    assert result["step"] == math.ceil(math.ceil(windows / 4) / 12)
    assert result["consumed"] == result["step"] * 192
