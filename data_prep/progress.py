"""Progress of long work: a bar on a terminal, plain lines elsewhere; both with rate and time left."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

_LINE_EVERY_SECONDS = 5.0
_SHORT_UNITS = {"bytes": ("MB", 1e6)}


def clock(seconds: float) -> str:
    """`3725` -> `1:02:05`."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, secs = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{secs:02d}" if hours else f"{minutes}:{secs:02d}"


class ProgressBar:
    """Shows how far one piece of work is.

    Args:
        title: what is being done.
        total: the amount that is all of it, in `unit`; 0 if not known yet.
        unit: what is counted ("rows", "pages", "bytes"; bytes are shown as MB).
    """

    def __init__(self, title: str, total: float, unit: str) -> None:
        self.title, self.total = title, total
        self.unit, self._scale = _SHORT_UNITS.get(unit, (unit, 1.0))
        self._start = self._last_line = time.monotonic()
        self._first_done: float | None = None
        self.done = 0.0
        self._bar: Progress | None = None

    def __enter__(self) -> ProgressBar:
        self._start = self._last_line = time.monotonic()
        if sys.stderr.isatty():
            # Here and not above: training without a terminal has no need of it.
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("  {task.description:<12}"),
                BarColumn(bar_width=28),
                TextColumn("{task.percentage:>3.0f}%  {task.fields[note]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._row = self._bar.add_task(self.title, total=self.total or None, note="")
        return self

    def update(self, done: float, total: float | None = None) -> None:
        """Set how much is done (and how much there is in all)."""
        if total is not None:
            self.total = total
        if self._first_done is None:
            self._first_done = done
        self.done = done
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._row, completed=done, total=self.total or None, note=self._note(now))
        elif now - self._last_line >= _LINE_EVERY_SECONDS:
            self._last_line = now
            print(f"  {self.title}: {self._line(now)}", file=sys.stderr, flush=True)

    def _rate(self, now: float) -> float:
        # What was complete before the start of this run says nothing about its speed.
        return (self.done - (self._first_done or 0.0)) / max(now - self._start, 1e-9)

    def _note(self, now: float) -> str:
        amount = f"{self.done / self._scale:,.0f}"
        if self.total:
            amount += f"/{self.total / self._scale:,.0f}"
        return f"{amount} {self.unit}  {self._rate(now) / self._scale:,.1f} {self.unit}/s"

    def _line(self, now: float) -> str:
        rate = self._rate(now)
        if not self.total:
            return self._note(now)
        left = clock((self.total - self.done) / rate) if rate > 0 else "?"
        return f"{100 * self.done / self.total:.0f} %  {self._note(now)}  eta {left}"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
