"""An experiment as a list of ordinary runs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.configfile import load
from data_prep.errors import UserError
from pipeline.checkpoint.store import BEST, LATEST, CheckpointManifest, CheckpointStore
from pipeline.commands import relative, script, training_script
from pipeline.complete import result_of, run_folder
from pipeline.config.experiment import ArmConfig, AxisConfig, ExperimentConfig, PointConfig
from pipeline.config.features import FeaturesConfig
from pipeline.config.schema import FinetuneConfig
from pipeline.runs import RESULT


@dataclass(frozen=True)
class Child:
    """One run of an experiment.

    Attributes:
        arm: which way.
        point: of the axis; None for an arm that is run once for each seed.
        seed: its seed.
        config: what it is run with.
        command: as a user would type it.
        after: the child whose model it starts from.
    """

    arm: ArmConfig
    point: PointConfig | None
    seed: int
    config: FinetuneConfig | FeaturesConfig
    command: tuple[str, ...]
    after: Child | None

    @property
    def name(self) -> str:
        """Of the run and its folder."""
        return self.config.run.name

    @property
    def title(self) -> str:
        """For people."""
        at = f", {label_of(self.point)}" if self.point is not None else ""
        return f"{self.arm.name}{at}, seed {self.seed}"

    def result(self) -> dict[str, Any] | None:
        """The content of its `result.json` if it is complete and made from what is there now, else None."""
        if not (run_folder(self.config.run).path / RESULT).exists():
            return None  # before anything that it would have been made from is hashed
        if self.after is not None and self.after.result() is None:
            return None
        try:
            return result_of(self.config)
        except UserError:
            return None  # what it reads is not there; the run itself says so


def label_of(point: PointConfig) -> str:
    """A point as it is shown."""
    return point.label or (f"{point.at:,g}" if point.at < 1e6 else f"{point.at:,.0f}")


def points_of(axis: AxisConfig | None) -> list[PointConfig]:
    """The points of an axis, by their place.

    Raises:
        UserError: the folder of its checkpoints holds none.
    """
    if axis is None:
        return []
    if axis.checkpoints is None:
        return sorted(axis.points, key=lambda point: point.at)
    folder = Path(expanded(axis.checkpoints, "axis.checkpoints"))
    store = CheckpointStore(folder, keep_last=1, milestone=None)
    steps = store.steps() if folder.is_dir() else []
    if not steps:
        raise UserError("no checkpoints here", where=str(folder), fix="correct axis.checkpoints")
    paths = [store.path(step) for step in steps]
    consumed = [CheckpointManifest.load(path).cursor.consumed for path in paths]
    return [
        PointConfig(at=tokens, set=(f"init.checkpoint={path}",))
        for tokens, path in sorted(zip(consumed, paths, strict=True))
    ]


def children(experiment: ExperimentConfig, file: str) -> list[Child]:
    """All runs in the order in which they are done: the first seed of everything comes first.

    Args:
        experiment: the experiment.
        file: where it was read from; configs of arms are relative to it.

    Raises:
        UserError: a config is missing or wrong, a variable is not set, two children would share a folder.
    """
    points: list[PointConfig | None] = [*points_of(experiment.axis)]
    found: list[Child] = []
    for seed in experiment.seeds:
        for point in points or [None]:
            for arm in experiment.arms:
                own = point if arm.axis else None
                if any((one.arm, one.point, one.seed) == (arm, own, seed) for one in found):
                    continue  # an arm without the axis, at a further point
                found.append(_child(experiment, file, arm, own, seed, found))
    names = [child.name for child in found]
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f"two runs would be called {name!r}", where=file, fix="choose other names of arms or labels"
            )
    return found


def _child(
    experiment: ExperimentConfig,
    file: str,
    arm: ArmConfig,
    point: PointConfig | None,
    seed: int,
    found: Sequence[Child],
) -> Child:
    name = "-".join(_slug(part) for part in _parts(arm, point, seed))
    overrides = [
        f"run.name={name}",
        f"run.dir={Path(experiment.dir) / experiment.name}",
        f"tracking.experiment={experiment.tracking.experiment}",
        f"tracking.mlflow={str(experiment.tracking.mlflow).lower()}",
        f"tracking.uri={store_of(experiment)}",
        *(f"{key}={seed}" for key in experiment.seeded),
        *experiment.set,
        *(point.set if point is not None else ()),
        *arm.set,
    ]
    after = None
    if arm.after is not None:
        after = next(
            one
            for one in found
            if (one.arm.name, one.seed) == (arm.after, seed) and (one.point is None or one.point == point)
        )
        overrides.append(f"init.checkpoint={_model_of(after)}")
    overrides = [expanded(item, "set") for item in overrides]
    path = relative(Path(file).parent / arm.config)
    config: FinetuneConfig | FeaturesConfig
    if arm.kind == "finetune":
        config, command = load(path, FinetuneConfig, overrides), training_script("finetune.py", experiment.ranks)
    else:
        config, command = load(path, FeaturesConfig, overrides), script("features.py")
    return Child(arm, point, seed, config, (*command, path, *overrides), after)


def store_of(experiment: ExperimentConfig) -> str:
    """The tracking store that all runs of an experiment share unless the environment names another."""
    return experiment.tracking.uri or f"sqlite:///{Path(experiment.dir) / 'mlflow.db'}"


def _parts(arm: ArmConfig, point: PointConfig | None, seed: int) -> Iterator[str]:
    yield arm.name
    if point is not None:
        yield point.label or f"{point.at:.10g}"
    yield f"s{seed}"


def _slug(text: str) -> str:
    """`No pretraining, LSTM` -> `no-pretraining-lstm`; a minus in front of a number stays readable."""
    plain = re.sub(r"^-(?=\d)", "minus-", text.strip().lower())
    return re.sub(r"[^a-z0-9.]+", "-", plain).strip("-")


def _model_of(child: Child) -> Path:
    """The checkpoint that a fine-tuning run ends with."""
    assert isinstance(child.config, FinetuneConfig)
    link = BEST if child.config.validation.select == "best" else LATEST
    return Path(child.config.run.dir) / child.name / "checkpoints" / link


def expanded(text: str, where: str) -> str:
    """A setting with its environment variables filled in.

    Raises:
        UserError: one is not set.
    """
    filled = os.path.expandvars(text)
    missing = re.search(r"\$\{?(\w+)", filled)
    if missing is not None:
        raise UserError(
            f"the environment variable {missing[1]} is not set", where=f"{where}, {text}", fix=f"set {missing[1]}=..."
        )
    return filled
