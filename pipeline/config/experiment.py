"""What an experiment is: runs that differ in a few settings, each with several seeds."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from data_prep.configfile import Settings
from pipeline.config.fields import Positive
from pipeline.config.run import TrackingConfig

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._,+-]*$")]
Set = tuple[str, ...]


class ArmConfig(Settings):
    """One way of doing it: a line of the plot, rows of the table.

    Attributes:
        name: as shown.
        kind: which command: fine-tuning, or a small model on fixed features.
        config: its file, relative to the experiment's.
        set: settings that win over the file and over the experiment's own, `section.key=value`.
        after: name of the arm whose model of the same seed it starts from, the best by that run's validation.
        axis: whether it is run at every point of the axis, or once for each seed and is no part of the plot.
    """

    name: Name
    kind: Literal["finetune", "features"] = "finetune"
    config: str
    set: Set = ()
    after: str | None = None
    axis: bool = True


class PointConfig(Settings):
    """A point of the axis.

    Attributes:
        at: where it lies in the plot.
        label: in place of the number.
        set: settings that make it.
    """

    at: float
    label: str | None = None
    set: Set = ()


class AxisConfig(Settings):
    """What all arms are run at.

    Attributes:
        name: as shown.
        scale: of the plot.
        points: where.
        checkpoints: instead of points, the folder of a pretraining run's checkpoints: each is one, at its tokens.
    """

    name: str
    scale: Literal["linear", "log"] = "linear"
    points: tuple[PointConfig, ...] = ()
    checkpoints: str | None = None

    @model_validator(mode="after")
    def _has_points(self) -> Self:
        if bool(self.points) == (self.checkpoints is not None):
            raise ValueError("give points, or checkpoints")
        if self.scale == "log" and any(point.at <= 0 for point in self.points):
            raise ValueError("a logarithmic scale has no place for points at 0 or below")
        places = [point.at for point in self.points]
        if len(set(places)) < len(places):
            raise ValueError("two points lie at the same place")
        return self


class ExperimentConfig(Settings):
    """An experiment.

    Attributes:
        name: of the parent run, and of its folder in `dir`, in which its children are run folders.
        title: of the plot and the table.
        dir: folder that holds all experiments.
        arms: in the order of the table.
        axis: none where the arms are all there is.
        seeds: each child is run with each.
        seeded: settings that take the seed.
        set: settings of every child. In all `set` lists `$NAME` and `${NAME}` stand for environment variables.
        metric: in the plot and, first, in the table.
        metrics: further columns of the table.
        floor: metric that is drawn as a level to beat.
        ranks: processes of each fine-tuning; one runs without a launcher.
        device: "cpu", or "auto" for GPUs where there are any.
        tracking: of the parent and of every child.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    title: str
    dir: str
    arms: Annotated[tuple[ArmConfig, ...], Field(min_length=1)]
    axis: AxisConfig | None = None
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (1, 2, 3)
    seeded: tuple[str, ...] = ("run.seed",)
    set: Set = ()
    metric: str = "test/accuracy"
    metrics: tuple[str, ...] = ()
    floor: str | None = "test/majority"
    ranks: Positive = 1
    device: Literal["cpu", "auto"] = "auto"
    tracking: TrackingConfig = TrackingConfig()

    @model_validator(mode="after")
    def _arms_fit(self) -> Self:
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names):
            raise ValueError("two arms have the same name")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed stands twice")
        before: dict[str, ArmConfig] = {}
        for arm in self.arms:
            if arm.after is not None:
                if arm.after not in before:
                    raise ValueError(f"{arm.name!r} starts from {arm.after!r}, which is no arm above it")
                first = before[arm.after]
                if first.kind != "finetune":
                    raise ValueError(f"{arm.name!r} starts from {arm.after!r}, which trains no language model")
                if first.axis and not arm.axis:
                    raise ValueError(f"{arm.name!r} is run once and starts from {arm.after!r}, which has many points")
            before[arm.name] = arm
        return self
