"""The step at which a run dies again and again is not tried a third time.

While a run trains, `heartbeat.json` says which step is being computed; whatever kills the run leaves it there, and any
other end removes it. The next start finds it; the second death in a row in the same step makes it refuse, so that a
scheduler does not requeue for ever. `after` and `refusal` are pure; `begin` and `Heartbeat` read and write.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from data_prep import store
from data_prep.errors import CorruptFile
from pipeline.data.skip import Ranges, merged

HEARTBEAT, ATTEMPTS = "heartbeat.json", "attempts.json"
_BYTES = 256
"""Of a heartbeat, so that a new one overwrites the old one whole."""


@dataclass(frozen=True)
class Beat:
    """A step that is being computed.

    Attributes:
        step: 1, 2, ...
        first: its first sample number.
        end: behind its last one; samples between them may be skipped.
    """

    step: int
    first: int
    end: int


@dataclass(frozen=True)
class Deaths:
    """How often in a row a run died in a step."""

    beat: Beat
    count: int


def after(deaths: Deaths | None, beat: Beat | None) -> Deaths | None:
    """The deaths to remember when a run starts.

    Args:
        deaths: remembered before.
        beat: the step in which the attempt before died; None if it died in none.
    """
    if beat is None:
        return deaths
    return Deaths(beat, deaths.count + 1 if deaths is not None and deaths.beat == beat else 1)


def refusal(deaths: Deaths | None, skip: Ranges, allowed: int, can_skip: bool) -> str | None:
    """Why a run should not begin, in one line with what to do; None if it may.

    Args:
        deaths: of `after`.
        skip: ranges of samples that the run leaves out.
        allowed: deaths in a row in one step after which it is not begun again.
        can_skip: whether the configuration has `data.skip`.
    """
    if deaths is None or deaths.count < allowed:
        return None
    beat = deaths.beat
    if merged([*skip, (beat.first, beat.end)]) == merged(skip):
        return None
    leave_out = f"leave them out with data.skip=[[{beat.first},{beat.end}]] or " if can_skip else ""
    return (
        f"the last {deaths.count} attempts died in step {beat.step} (samples {beat.first:,} to {beat.end - 1:,}); find "
        f"out why, then {leave_out}try it again with health.max_deaths={deaths.count + 1}"
    )


def _read(path: Path) -> Any:
    try:
        return store.read_json(str(path)) if path.exists() and path.stat().st_size else None
    except CorruptFile:
        return None


def _remembered(run_dir: Path) -> Deaths | None:
    noted = _read(run_dir / ATTEMPTS)
    return Deaths(Beat(**noted["beat"]), noted["count"]) if noted else None


def begin(run_dir: Path, skip: Ranges, allowed: int, can_skip: bool) -> str | None:
    """Take note of how the attempt before ended; returns why this one should not begin, if so; see `refusal`.

    What was noted is on the disk before the heartbeat goes, so that a death is never forgotten.
    """
    beat = _read(run_dir / HEARTBEAT)
    deaths = after(_remembered(run_dir), Beat(**beat) if beat else None)
    if deaths is not None and beat:
        store.write_json(str(run_dir / ATTEMPTS), asdict(deaths))
    (run_dir / HEARTBEAT).unlink(missing_ok=True)
    return refusal(deaths, skip, allowed, can_skip)


class Heartbeat:
    """Says which step is being computed, in a file that outlives the process; one process of a job holds one.

    A beat is one small write into the page cache, which a SIGKILL does not touch.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir, self._step = run_dir, 0
        self._handle = os.open(run_dir / HEARTBEAT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)

    def beat(self, beat: Beat) -> None:
        """A step begins."""
        self._step = beat.step
        os.pwrite(self._handle, orjson.dumps(asdict(beat)).ljust(_BYTES - 1) + b"\n", 0)

    def close(self) -> None:
        """The attempt ends otherwise than by death: it died in no step, and what it came past is forgotten."""
        os.close(self._handle)
        deaths = _remembered(self._run_dir)
        if deaths is not None and deaths.beat.step < self._step:
            (self._run_dir / ATTEMPTS).unlink(missing_ok=True)
        (self._run_dir / HEARTBEAT).unlink(missing_ok=True)
