"""Real runs with faults in them: what becomes of each, and with which exit code."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch
from dying import killed_in_step
from faults import SIGNALS, Faults, starts, train
from harness import outcomes, ranks
from run_folder import assert_same_run, losses, metrics, weights
from small_model import pretrain_config, write_dataset

from data_prep.configfile import merge
from pipeline import preflight
from pipeline import pretrain as pretraining
from pipeline.checkpoint.store import CheckpointManifest
from pipeline.config.schema import PretrainConfig
from pipeline.exit_codes import ExitCode, read_ended
from pipeline.pretrain import pretrain
from pipeline.train.health_record import HealthRecord

pytestmark = pytest.mark.slow

NOTHING = Faults()


def config(dataset: Path, runs: Path, name: str = "run", steps: int = 8, **changes: Any) -> PretrainConfig:
    """Steps of 12 samples; a checkpoint every 4."""
    return pretrain_config(
        dataset, runs, **merge({"run": {"name": name}, "train": {"tokens": steps * 12 * 16}}, changes)
    )


def without_health(run: Path) -> list[tuple[int, int, dict[str, Any]]]:
    return [
        (step, consumed, {name: value for name, value in values.items() if not name.startswith("health/")})
        for step, consumed, values in metrics(run)
    ]


def last(run: Path, name: str) -> float:
    return [values[name] for _, _, values in metrics(run) if name in values][-1]


def test_a_bad_batch_costs_its_update_only(small_dataset: Path, tmp_path: Path) -> None:
    """Sample 65 is of the sixth step; rank 1 alone meets it or not, and all leave the update out."""
    one = config(small_dataset, tmp_path)
    found = outcomes(2, train, one, Faults(bad=(65, 66)))
    assert [outcome.trace for outcome in found] == ["", ""]
    run = tmp_path / "run"
    assert "WARNING: step 6: loss nan" in found[0].output
    assert HealthRecord.load(run) == HealthRecord((6,))
    assert [str(loss) for loss in losses(run)].index("nan") == 5
    assert [values["health/skipped_updates"] for _, _, values in metrics(run) if "train/loss" in values] == [
        0, 0, 0, 0, 0, 1, 1, 1
    ]  # fmt: skip
    assert last(run, "health/rollbacks") == 0
    assert all(value.isfinite().all() for value in weights(run).values())
    ended = read_ended(run)
    assert ended is not None
    assert {key: ended[key] for key in ("code", "name", "step")} == {"code": 0, "name": "FINISHED", "step": 8}


def test_no_checkpoint_is_written_between_bad_updates(small_dataset: Path, tmp_path: Path) -> None:
    bad = Faults(bad=(36, 48))  # the fourth step, behind which a checkpoint is due
    one = config(small_dataset, tmp_path, checkpoint={"every": 4, "keep_last": 9})
    assert ranks(2, starts, [(one, bad)]) == [["done"], ["done"]]
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").glob("step_*")) == [
        "step_00000005",
        "step_00000008",
    ]


def test_bad_updates_in_a_row_lead_back_and_past_their_samples(small_dataset: Path, tmp_path: Path) -> None:
    """The run that goes back from step 7 to 4 is, bit for bit, one that was told to skip those samples."""
    bad = config(small_dataset, tmp_path, "bad", health={"max_skipped": 2})
    told = config(small_dataset, tmp_path, "told", data={"skip": [[48, 84]]})
    plan = [(bad, Faults(bad=(60, 84))), (told, NOTHING)]
    assert ranks(2, starts, plan) == [["done", "done"], ["done", "done"]]
    run = tmp_path / "bad"
    assert without_health(run) == without_health(tmp_path / "told")
    assert weights(run).keys() == weights(tmp_path / "told").keys()
    assert all((value == weights(tmp_path / "told")[name]).all() for name, value in weights(run).items())
    (rollback,) = HealthRecord.load(run).rollbacks
    assert (rollback.step, rollback.to_step, rollback.samples) == (7, 4, (48, 84))
    assert last(run, "health/rollbacks") == 1
    assert last(run, "health/skipped_updates") == 0  # they are no part of the run any more
    assert CheckpointManifest.load(run / "checkpoints" / "latest").cursor.skip == ((48, 84),)


def test_a_spike_leads_back_too(small_dataset: Path, tmp_path: Path) -> None:
    changes = {"health": {"spike_z": 7, "spike_window": 8}, "steps": 14}
    bad = config(small_dataset, tmp_path, "bad", **changes)
    told = config(small_dataset, tmp_path, "told", data={"skip": [[96, 120]]}, **changes)
    # The spike of step 10 is read a step later, unless it is looked for at once, as in a step that is logged.
    plan = [(bad, Faults(bad=(108, 109), how="exploding")), (told, NOTHING)]
    assert ranks(2, starts, plan) == [["done", "done"], ["done", "done"]]
    (rollback,) = HealthRecord.load(tmp_path / "bad").rollbacks
    assert (rollback.step, rollback.to_step, rollback.samples) == (10, 8, (96, 120))
    assert "standard deviations above" in rollback.reason
    assert without_health(tmp_path / "bad") == without_health(tmp_path / "told")


def test_what_is_not_logged_is_read_a_step_later(small_dataset: Path, tmp_path: Path) -> None:
    one = config(small_dataset, tmp_path, train={"log_every": 100}, health={"max_skipped": 1})
    assert ranks(2, starts, [(one, Faults(bad=(60, 61)))]) == [["done"], ["done"]]
    (rollback,) = HealthRecord.load(tmp_path / "run").rollbacks
    assert (rollback.step, rollback.samples) == (7, (48, 84))


def test_rollbacks_are_used_up_and_a_restart_does_not_forget(small_dataset: Path, tmp_path: Path) -> None:
    one = config(small_dataset, tmp_path, health={"max_skipped": 1, "max_rollbacks": 2})
    hopeless = Faults(bad=(60, 10**6))
    (first, second, third), _ = ranks(2, starts, [(one, hopeless), (one, hopeless), (one, NOTHING)])
    assert first.startswith("3 diverged at step 5: 1 updates in a row left out")
    assert "2 roll-backs are used up (health.max_rollbacks 2)" in first
    assert second.startswith("3 diverged at step 5")
    record = HealthRecord.load(tmp_path / "run")
    assert [(one.step, one.to_step, one.samples) for one in record.rollbacks] == [
        (6, 4, (48, 72)),
        (5, 4, (48, 84)),
    ]
    assert third == "done"
    assert CheckpointManifest.load(tmp_path / "run" / "checkpoints" / "latest").cursor.skip == ((48, 84),)


def test_without_a_checkpoint_there_is_nothing_to_go_back_to(small_dataset: Path, tmp_path: Path) -> None:
    one = config(small_dataset, tmp_path, health={"max_skipped": 1})
    (said,), _ = ranks(2, starts, [(one, Faults(bad=(12, 13)))])
    assert said.startswith("3 diverged at step 2")
    assert "there is no checkpoint yet to go back to" in said
    ended = read_ended(tmp_path / "run")
    assert ended is not None
    assert (ended["code"], ended["step"]) == (3, 2)
    assert orjson.loads((tmp_path / "run" / "run.json").read_bytes())["status"] == "FAILED"


def test_whatever_stops_a_run_it_goes_on_as_though_it_had_not(small_dataset: Path, tmp_path: Path) -> None:
    """Each signal to rank 1 alone, and the stop file, at steps of their own; the same steps once each."""
    whole, cut = config(small_dataset, tmp_path, "whole"), config(small_dataset, tmp_path, "cut")
    stop = tmp_path / "cut" / "stop"
    plan = [(whole, NOTHING)]
    plan += [(cut, Faults(signals=((step, number),))) for step, number in zip((2, 3, 5), SIGNALS, strict=True)]
    (first, *stopped), other = ranks(2, starts, plan)
    assert first == "done"
    for step, number, line in zip((2, 3, 5), SIGNALS, stopped, strict=True):
        assert line == f"75 stopped by {number.name} behind the checkpoint of step {step}; the same command continues"
    assert other == ["done", *stopped]
    ended = read_ended(tmp_path / "cut")
    assert ended is not None
    assert (ended["code"], ended["name"], ended["step"]) == (75, "STOPPED", 5)
    record = orjson.loads((tmp_path / "cut" / "run.json").read_bytes())
    assert record["status"] == "KILLED"
    assert record["tags"]["last_end"].startswith("STOPPED: stopped by SIGINT")
    (by_file, still_there), _ = ranks(2, starts, [(cut, Faults(touch=((6, str(stop)),), rank=0)), (cut, NOTHING)])
    assert by_file.startswith("75 stopped by stop file behind the checkpoint of step ")
    assert still_there == f"2 {stop}: the stop file is there: this run is to stop; remove it to go on"
    stop.unlink()
    assert ranks(2, starts, [(cut, NOTHING)]) == [["done"], ["done"]]
    assert_same_run(tmp_path / "whole", tmp_path / "cut")
    assert orjson.loads((tmp_path / "cut" / "run.json").read_bytes())["tags"]["last_end"] == "FINISHED"


def test_a_run_ends_with_its_time(small_dataset: Path, tmp_path: Path) -> None:
    one = config(small_dataset, tmp_path, health={"time_budget_minutes": 0.001})
    assert [one[0] for one in (ranks(2, starts, [(one, NOTHING)]))] == [
        "75 stopped by time budget behind the checkpoint of step 1; the same command continues"
    ] * 2


def test_a_run_that_hangs_says_where(small_dataset: Path, tmp_path: Path) -> None:
    one = config(small_dataset, tmp_path, health={"hang_minutes": 0.2, "hang_factor": 1.5})
    found = outcomes(2, train, one, Faults(sleep_at=4))
    assert [outcome.exit_code for outcome in found] == [ExitCode.HUNG] * 2
    run = tmp_path / "run"
    stacks = [(run / "stacks" / f"rank_{rank}.txt").read_text() for rank in range(2)]
    assert "in sleeping" in stacks[1]
    assert "in sleeping" not in stacks[0]
    assert "in train_step" in stacks[0]
    for rank, text in enumerate(stacks):
        assert text.startswith(f"rank {rank} on ")
        assert "in spoiled" in text
        assert "hung: rank" in found[rank].output
    assert any("step 4 has not ended within " in text for text in stacks)
    ended = read_ended(run)
    assert ended is not None
    assert (ended["code"], ended["name"], ended["step"]) == (76, "HUNG", 4)
    assert orjson.loads((run / "run.json").read_bytes())["status"] == "FAILED"


def test_a_step_that_kills_twice_is_not_begun_a_third_time(small_dataset: Path, tmp_path: Path) -> None:
    one = config(small_dataset, tmp_path)
    for call in (6, 2):  # the sixth step: the second one behind the checkpoint
        survivor, killed = outcomes(2, killed_in_step, one, call, 1)
        assert killed.exit_code == -signal.SIGKILL
        assert survivor.trace
        ended = read_ended(tmp_path / "run")
        assert ended is not None
        assert ended["code"] == ExitCode.DEFECT
    expected = (
        "4 the last 2 attempts died in step 6 (samples 60 to 71); find out why, then leave them out with "
        "data.skip=[[60,72]] or try it again with health.max_deaths=3"
    )
    skipping = config(small_dataset, tmp_path, data={"skip": [[60, 72]]})
    again = config(small_dataset, tmp_path, health={"max_deaths": 3})
    said = ranks(2, starts, [(one, NOTHING), (one, NOTHING), (skipping, Faults(signals=((6, signal.SIGTERM),)))])
    assert said == [[expected, expected, said[0][2]]] * 2
    assert said[0][2].startswith("75 stopped by SIGTERM behind the checkpoint of step 6")
    ended = read_ended(tmp_path / "run")
    assert ended is not None
    assert ended["code"] == 75
    assert ranks(2, starts, [(again, NOTHING)]) == [["done"], ["done"]]
    assert not (tmp_path / "run" / "attempts.json").exists()
    assert not (tmp_path / "run" / "heartbeat.json").exists()


def _differing(config: PretrainConfig, how: str, wrong: Any) -> None:
    """Pretrain, rank 1 otherwise."""
    if os.environ["RANK"] == "1":
        if how == "torch":
            torch.__version__ = wrong
        if how == "code":
            preflight.code_digest = lambda: wrong  # type: ignore[assignment]
        if how == "config":
            config = wrong
        if how == "data":
            opened = pretraining.open_data
            pretraining.open_data = lambda _: opened(wrong)
        if how == "no answer":
            return
    pretrain(config)


@pytest.mark.parametrize(
    ("how", "wrong", "line"),
    [
        ("torch", "1.0", r"torch is 1\.0 on rank 1 \(\S+\) and [\d.]+\S* elsewhere; install the same"),
        ("code", "f" * 64, r"code is \S* ?\S* f{12} on rank 1 \(\S+\) and \S* ?\S* \w{12} elsewhere; install the same"),
        ("config", None, r"config is \w{12} on rank 1 \(\S+\) and \w{12} elsewhere; install the same"),
        ("data", None, r"(data|made from) is \w{12} on rank 1 \(\S+\) and .*; give every rank the same data"),
        ("no answer", None, r"rank 1 did not come to 127\.0\.0\.1:\d+ within 0\.03 minutes; look at"),
    ],
)
def test_a_rank_that_differs_ends_the_run_before_it_begins(
    small_dataset: Path, tmp_path: Path, how: str, wrong: Any, line: str
) -> None:
    one = config(small_dataset, tmp_path, health={"preflight_minutes": 0.03 if how == "no answer" else 1})
    if how == "config":
        wrong = config(small_dataset, tmp_path, optimizer={"lr": 2e-2})
    if how == "data":
        wrong = str(tmp_path / "other")
        write_dataset(tmp_path / "other", seed=1)
    found = outcomes(2, _differing, one, how, wrong)
    assert re.match(f"preflight: {line}", str(found[0].error)), found[0].error or found[0].trace
    if how != "no answer":
        assert str(found[1].error) == str(found[0].error)
    assert not (tmp_path / "run" / "checkpoints").exists()
    ended = read_ended(tmp_path / "run")
    assert ended is None or ended["code"] == 2
