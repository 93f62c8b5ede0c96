"""Tiny stages for the tests of the runner; a module of its own, so that worker processes can import it."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from data_prep.configfile import Settings
from data_prep.errors import UserError
from data_prep.manifest import FileRef, Totals
from data_prep.stage import Stage, Task, TaskOutput

NUMBERS = pa.schema([pa.field("n", pa.int64())])


class OddError(Exception):
    """Cannot be rebuilt from what pickle keeps of it."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} is not {b}")


class NumbersSettings(Settings):
    """`above`: rows up to it are dropped."""

    above: int = 0


class NumbersStage(Stage):
    """Keeps the numbers of each text file that are large enough. A file's first line may ask for trouble."""

    name: ClassVar[str] = "numbers"
    is_filter: ClassVar[bool] = True
    settings: NumbersSettings

    def plan(self) -> list[Task]:
        return self.one_task_per_file("files")

    def run_task(self, task: Task, out: TaskOutput) -> None:
        (ref,) = task.inputs["files"]
        rows = out.rows(f"part-{task.index:05d}.parquet", NUMBERS)
        for line in Path(ref.path).read_text().split():
            out.rows_in += 1
            if line == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            elif line.startswith("kill-once:"):
                flag = Path(line.partition(":")[2])
                if not flag.exists():
                    flag.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
            elif line.startswith(("bad-unless:", "kill-unless:")):
                if not Path(line.partition(":")[2]).exists():
                    if line.startswith("kill"):
                        os.kill(os.getpid(), signal.SIGKILL)
                    raise UserError("a bad line", where=ref.path, fix="mend it")
            elif line.startswith("kill-group"):  # the task's worker and what started it
                flag = Path(line.partition(":")[2])
                if line == "kill-group" or not flag.exists():
                    if line != "kill-group":
                        flag.touch()
                    os.killpg(os.getpgrp(), signal.SIGKILL)
            elif line == "memory":
                resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
                bytearray(2 << 30)
            elif line == "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            elif line == "odd-error":
                raise OddError(1, 2)
            elif line == "bad":
                raise UserError("a bad line", where=ref.path, fix="mend it")
            elif line == "bug":
                raise KeyError("a bug")
            elif int(line) <= self.settings.above:
                out.drop("too small", id=line, url=f"https://e.org/{line}", score=float(line))
            else:
                rows.add({"n": int(line)})
                out.rows_out += 1
            out.advance(out.rows_in, 10, "rows")
        time.sleep(float(os.environ.get("NUMBERS_PAUSE", 0)))

    def finish(self, outputs: Any, totals: Totals) -> dict[str, Any]:
        return {"files": len(outputs)}


def numbers_stage(folder: str, files: list[str], **settings: Any) -> NumbersStage:
    """The stage over text files as they are now."""
    return NumbersStage(folder, NumbersSettings(**settings), {"files": [FileRef.of(f) for f in files]}, {"files": "f"})
