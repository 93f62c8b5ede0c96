"""Which checkpoint is the best by a validation metric; kept in `selection.json` of the run folder.

A restart must not forget what was seen before it, and must forget what was seen behind the checkpoint from which it
goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from data_prep import store
from data_prep.errors import CorruptFile

SELECTION = "selection.json"


@dataclass(frozen=True)
class Selection:
    """Validations until now.

    Attributes:
        metric: that selects, the higher the better; None if nothing is selected.
        values: (step, value), ascending steps.
    """

    metric: str | None
    values: tuple[tuple[int, float], ...] = ()

    @property
    def best(self) -> int | None:
        """Step of the highest value, the first of equal ones; None if there is none that is a number."""
        numbers = [(value, -step) for step, value in self.values if value == value]
        return -max(numbers)[1] if numbers else None

    def metrics(self) -> dict[str, float]:
        """`best/step` and `best/<metric>`, for the run's result."""
        found = dict(self.values)
        return {} if self.best is None else {"best/step": self.best, f"best/{self.metric}": found[self.best]}

    def with_value(self, step: int, value: float) -> Selection:
        """With one more validation."""
        return replace(self, values=(*self.values, (step, value)))

    def at(self, step: int) -> Selection:
        """As it was when a checkpoint was written."""
        return replace(self, values=tuple(one for one in self.values if one[0] <= step))

    def where(self, steps: list[int]) -> Selection:
        """Without values whose checkpoint was better than all that are there, but is gone.

        Args:
            steps: that have a checkpoint.
        """
        kept = self
        while kept.best is not None and kept.best not in steps:
            kept = replace(kept, values=tuple(one for one in kept.values if one[0] != kept.best))
        return kept

    def save(self, run_dir: Path) -> None:
        """Write `selection.json` atomically."""
        store.write_json(str(run_dir / SELECTION), {"metric": self.metric, "values": self.values})

    @staticmethod
    def load(run_dir: Path, metric: str | None) -> Selection:
        """Read `selection.json`; an empty selection if there is none, or it is by another metric.

        Raises:
            CorruptFile: the file is damaged.
        """
        path = run_dir / SELECTION
        if not path.exists():
            return Selection(metric)
        data = store.read_json(str(path))
        try:
            values = tuple((int(step), float("nan" if value is None else value)) for step, value in data["values"])
            return Selection(metric, values if data["metric"] == metric else ())
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CorruptFile(
                f"not a record of validations ({error!r})", where=str(path), fix="delete the file"
            ) from None
