"""The machine while a run goes: CPU, memory, disk, network and GPUs of rank 0's host, into `system.jsonl`.

Names are those of MLflow's own system metrics, so that its page for them shows ours.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from pipeline.tracking.runfolder import SYSTEM_FILE, MetricRecord, drop_torn_line

PREFIX = "system/"
PERIOD_SECONDS = 15.0
SHORTEST_SECONDS = 1.0
"""CPU use over a shorter time than this says nothing."""
_MB = 1e6


class SystemSampler:
    """Appends a record every 15 s, and a last one when it is stopped; on a daemon thread.

    Args:
        run_dir: the run folder.
        moment: gives (step, tokens) at which the run stands.
    """

    def __init__(self, run_dir: Path, moment: Callable[[], tuple[int, int]]) -> None:
        self._run_dir, self._moment = run_dir, moment
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="system-metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take the last sample and end the thread."""
        self._stop.set()
        self._thread.join(PERIOD_SECONDS)

    def _sample(self) -> None:
        process, began = psutil.Process(), time.monotonic()
        psutil.cpu_percent()  # the next call tells the use since this one
        process.cpu_percent()
        network = psutil.net_io_counters()
        path = self._run_dir / SYSTEM_FILE
        try:
            drop_torn_line(path)
            while True:
                last = self._stop.wait(PERIOD_SECONDS)
                if last and time.monotonic() - began < SHORTEST_SECONDS:
                    return
                began = time.monotonic()
                line = MetricRecord(*self._moment(), time.time(), measured(process, self._run_dir, network)).to_line()
                with path.open("ab") as handle:
                    handle.write(line)
                if last:
                    return
        except (OSError, psutil.Error) as error:  # a full disk is noticed where it matters: by the run itself
            print(f"tracking: no more system metrics in {self._run_dir} ({error})", file=sys.stderr, flush=True)


def measured(process: psutil.Process, folder: Path, since: Any) -> dict[str, float]:
    """The state now: percentages of the whole machine, megabytes (10^6 bytes), watts, degrees Celsius.

    Args:
        process: this one.
        folder: the disk that it lies on is looked at.
        since: `psutil.net_io_counters()` from which on traffic counts; None if there is no network.
    """
    memory, disk, network = psutil.virtual_memory(), shutil.disk_usage(folder), psutil.net_io_counters()
    values = {
        "cpu_utilization_percentage": psutil.cpu_percent(),
        "system_memory_usage_megabytes": memory.used / _MB,
        "system_memory_usage_percentage": memory.percent,
        "process_cpu_percentage": process.cpu_percent(),
        "process_memory_megabytes": process.memory_info().rss / _MB,
        "disk_usage_percentage": 100 * disk.used / (disk.used + disk.free),
        "disk_available_megabytes": disk.free / _MB,
        **gpus(),
    }
    if network is not None and since is not None:
        values["network_receive_megabytes"] = (network.bytes_recv - since.bytes_recv) / _MB
        values["network_transmit_megabytes"] = (network.bytes_sent - since.bytes_sent) / _MB
    return {PREFIX + name: float(value) for name, value in values.items()}


def gpus() -> dict[str, float]:
    """The GPUs that this process sees, if it computes on GPUs.

    NVML (package nvidia-ml-py) tells all; without it only this process's own device, and of that only the memory.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {}
    values: dict[str, float] = {}
    for index in range(torch.cuda.device_count()):
        share = torch.cuda.get_device_properties(index).total_memory / 100
        looks: list[tuple[str, Callable[[int], float], float]] = [
            ("memory_usage_megabytes", torch.cuda.device_memory_used, _MB),
            ("memory_usage_percentage", torch.cuda.device_memory_used, share),
            ("utilization_percentage", torch.cuda.utilization, 1),
            ("power_usage_watts", torch.cuda.power_draw, 1000),
            ("temperature_celsius", torch.cuda.temperature, 1),
        ]
        for name, look, unit in looks:
            try:
                values[f"gpu_{index}_{name}"] = look(index) / unit
            except ModuleNotFoundError:
                free, total = torch.cuda.mem_get_info(0)  # rank 0's; asking others would set them up in this process
                used = total - free
                return {"gpu_0_memory_usage_megabytes": used / _MB, "gpu_0_memory_usage_percentage": 100 * used / total}
            except Exception:  # NVML's own errors, whose module may not be there: this GPU does not tell that
                continue
    return values
