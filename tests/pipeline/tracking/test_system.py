import errno
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow_server import wait_for

from pipeline.tracking import RunInfo, Tracker, system
from pipeline.tracking.connection import connect
from pipeline.tracking.mlflow import sync
from pipeline.tracking.runfolder import SYSTEM_FILE, RunRecord, read_metrics

INFO = RunInfo("run", "pretrain")
USUAL = {
    "system/cpu_utilization_percentage",
    "system/system_memory_usage_megabytes",
    "system/system_memory_usage_percentage",
    "system/process_cpu_percentage",
    "system/process_memory_megabytes",
    "system/disk_usage_percentage",
    "system/disk_available_megabytes",
}


def samples(run_dir: Path) -> list[tuple[int, int, float, set[str]]]:
    found = [record for _, record in read_metrics(run_dir, 0, SYSTEM_FILE)]
    return [(one.step, one.tokens, one.time, set(one.metrics)) for one in found]


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "PERIOD_SECONDS", 0.05)
    monkeypatch.setattr(system, "SHORTEST_SECONDS", 0.0)


@pytest.mark.usefixtures("hurried")
def test_the_machine_is_recorded_over_resumes_and_in_mlflow(tmp_path: Path, mlflow_store: str) -> None:
    tracker = Tracker.start(tmp_path, INFO, None, "system")
    tracker.log({"train/loss": 1.0}, 3, 300)
    wait_for(lambda: len(samples(tmp_path)) >= 2, 60)
    tracker.finish("KILLED")
    before = samples(tmp_path)
    assert before[-1][3] >= USUAL
    assert before[-1][:2] == (3, 300)
    with (tmp_path / SYSTEM_FILE).open("ab") as handle:
        handle.write(b'{"step":4,"tok')  # what a kill leaves
    record = RunRecord.load(tmp_path)
    record.start_time_ms -= 10_000  # a run of some seconds
    record.save(tmp_path)

    tracker = Tracker.resume(tmp_path, INFO, None, "system", at_step=0)
    wait_for(lambda: len(samples(tmp_path)) > len(before), 60)
    time.sleep(1.1)  # into another second
    tracker.finish()
    after = samples(tmp_path)
    assert after[: len(before)] == before
    result = sync(tmp_path, mlflow_store)
    assert sync(tmp_path, mlflow_store).points == 0
    history = connect(mlflow_store).get_metric_history(result.run_id, "system/process_memory_megabytes")
    seconds = sorted({int(moment * 1000 - record.start_time_ms) // 1000 for _, _, moment, _ in after})
    assert sorted(point.step for point in history) == pytest.approx(seconds, abs=1)
    assert all(10 < point.value < 1e6 for point in history)


@pytest.mark.usefixtures("hurried")
def test_seconds_are_no_tokens(tmp_path: Path, mlflow_store: str) -> None:
    tracker = Tracker.start(tmp_path, INFO, None, "seconds")
    tracker.log({"train/loss": 1.0}, 1, 3)
    tracker.set_final({"val/loss": 2.0})
    tracker.finish()
    record = RunRecord.load(tmp_path)
    record.start_time_ms -= 60_000
    record.save(tmp_path)
    run_id = sync(tmp_path, mlflow_store).run_id
    (point,) = connect(mlflow_store).get_metric_history(run_id, "val/loss")
    assert point.step == 3


def test_a_short_run_has_no_sample_and_does_not_wait_for_one(tmp_path: Path) -> None:
    Tracker.start(tmp_path, INFO, None, "short").finish()
    assert not (tmp_path / SYSTEM_FILE).exists()


def test_a_disk_that_refuses_the_file_costs_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(system, "PERIOD_SECONDS", 0.01)

    def full(*arguments: object) -> dict[str, float]:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(system, "measured", full)
    tracker = Tracker.start(tmp_path, INFO, None, "refused")
    wait_for(lambda: not tracker._system._thread.is_alive(), 60)
    tracker.log({"train/loss": 1.0}, 1, 10)
    tracker.finish()
    assert capsys.readouterr().err.count(f"tracking: no more system metrics in {tmp_path} (") == 1


class NotSupported(Exception):
    pass


def cuda(nvml: bool) -> SimpleNamespace:
    """What is used of `torch.cuda`, on two GPUs, the second of which does not tell its power."""

    def told(value: int, power: bool = False):  # type: ignore[no-untyped-def]
        def look(index: int) -> int:
            if not nvml:
                raise ModuleNotFoundError("nvidia-ml-py")
            if power and index == 1:
                raise NotSupported
            return value + index

        return look

    return SimpleNamespace(
        is_initialized=lambda: True,
        device_count=lambda: 2,
        get_device_properties=lambda index: SimpleNamespace(total_memory=1_000_000_000),
        device_memory_used=told(250_000_000),
        utilization=told(97),
        power_draw=told(700_000, power=True),
        temperature=told(60),
        mem_get_info=lambda index: (400_000_000, 1_000_000_000),
    )


def test_gpus_tell_what_they_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda(nvml=True)))
    found = system.gpus()
    assert found["gpu_0_utilization_percentage"] == 97
    assert found["gpu_1_memory_usage_percentage"] == pytest.approx(25, abs=1e-6)
    assert found["gpu_0_power_usage_watts"] == 700
    assert "gpu_1_power_usage_watts" not in found
    assert found["gpu_1_temperature_celsius"] == 61


def test_without_nvml_the_memory_of_ones_own_gpu_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda(nvml=False)))
    assert system.gpus() == {"gpu_0_memory_usage_megabytes": 600, "gpu_0_memory_usage_percentage": 60}
    monkeypatch.delitem(sys.modules, "torch")
    assert system.gpus() == {}
