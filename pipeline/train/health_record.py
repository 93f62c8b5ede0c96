"""What a run's health has cost it so far, kept in `health.json` of the run folder, so that a restart does not forget.

A checkpoint holds the ranges that were skipped before it; the file holds also what was decided since.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from data_prep import store
from data_prep.errors import CorruptFile

HEALTH = "health.json"


@dataclass(frozen=True)
class Rollback:
    """One going back.

    Attributes:
        step: at which it was decided.
        to_step: of the checkpoint.
        samples: range [first, end) of sample numbers that is skipped from then on.
        reason: one line.
    """

    step: int
    to_step: int
    samples: tuple[int, int]
    reason: str


@dataclass(frozen=True)
class HealthRecord:
    """What happened until now.

    Attributes:
        skipped: steps, ascending, whose update was left out.
        rollbacks: oldest first.
    """

    skipped: tuple[int, ...] = ()
    rollbacks: tuple[Rollback, ...] = field(default_factory=tuple)

    def with_skipped(self, step: int) -> HealthRecord:
        """The record behind a step whose update was left out."""
        return HealthRecord((*self.skipped, step), self.rollbacks)

    def at(self, step: int) -> HealthRecord:
        """The record of a run that goes on from a checkpoint: steps behind it are no longer part of it."""
        return HealthRecord(tuple(one for one in self.skipped if one <= step), self.rollbacks)

    def with_rollback(self, rollback: Rollback) -> HealthRecord:
        """The record behind a going back."""
        return HealthRecord(self.at(rollback.to_step).skipped, (*self.rollbacks, rollback))

    def save(self, run_dir: Path) -> None:
        """Write `health.json` atomically."""
        store.write_json(str(run_dir / HEALTH), asdict(self))

    @staticmethod
    def load(run_dir: Path) -> HealthRecord:
        """Read `health.json`; an empty record if there is none.

        Raises:
            CorruptFile: the file is damaged.
        """
        path = run_dir / HEALTH
        if not path.exists():
            return HealthRecord()
        data = store.read_json(str(path))
        try:
            rollbacks = tuple(Rollback(**{**one, "samples": tuple(one["samples"])}) for one in data["rollbacks"])
            return HealthRecord(tuple(int(step) for step in data["skipped"]), rollbacks)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CorruptFile(
                f"not a record of a run's health ({error!r})", where=str(path), fix="delete the file"
            ) from None
