"""A stage in its place among the others: what it reads of which, and how it is made from a corpus' settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from data_prep.config import DataConfig
from data_prep.configfile import Settings
from data_prep.manifest import FileRef
from data_prep.stage import Stage

Files = dict[str, list[FileRef]]
Digests = dict[str, str]
Source = tuple[str, str]
"""(stage, start of the names of the files wanted of it), or (RAW, field of `inputs`)."""
Build = Callable[[DataConfig, str, Files, Digests], Stage]

S = TypeVar("S", bound=Settings)

RAW = "inputs"
"""Where a label comes from if no stage made it: the config's section `inputs`."""


def _always(config: DataConfig) -> bool:
    return True


@dataclass(frozen=True)
class Step:
    """One stage in its place.

    Attributes:
        name: the stage's name, and its folder under the root.
        command: the command that runs it; a command may run several steps.
        reads: label -> where its files come from, put together in order; a stage that is not enabled gives none.
        build: makes the stage.
        funnel: whether its rows are the corpus, so that their number belongs into the funnel and must not be 0.
        lineage: whether it is given the digests of everything before it.
        enabled: whether a corpus has this stage.
        replaces: the stage instead of which all later ones read this one, if a corpus has it.
    """

    name: str
    command: str
    reads: Mapping[str, tuple[Source, ...]]
    build: Build
    funnel: bool = True
    lineage: bool = False
    enabled: Callable[[DataConfig], bool] = _always
    replaces: str = ""

    @property
    def optional(self) -> bool:
        """Whether some corpora do not have it."""
        return self.enabled is not _always


def part_of(kind: type[S], settings: Settings | None) -> S:
    """Those of a section's settings that one stage gets.

    The section is there, or the step is not enabled.
    """
    assert settings is not None
    return kind(**settings.model_dump(include=set(kind.model_fields)))


def given(reads: Mapping[str, tuple[Source, ...]], config: DataConfig) -> dict[str, tuple[Source, ...]]:
    """What a step reads, without labels that are optional inputs which the config leaves empty."""

    def is_given(source: Source) -> bool:
        return source[0] != RAW or bool(getattr(config.inputs, source[1]))

    return {label: sources for label, sources in reads.items() if any(map(is_given, sources))}


def connected(steps: Sequence[Step]) -> list[Step]:
    """Steps that read from those of their number that replace others, instead of from the others.

    Args:
        steps: in order.
    """
    latest: dict[str, str] = {}
    found = []
    for step in steps:
        reads = {
            label: tuple((latest.get(source, source), part) for source, part in sources)
            for label, sources in step.reads.items()
        }
        found.append(replace(step, reads=reads))
        if step.replaces:
            latest[step.replaces] = step.name
    return found


def ancestors(steps: Sequence[Step], among: Sequence[Step]) -> set[str]:
    """Names of all stages that some steps build upon, as far as they are `among` those given."""
    by_name = {step.name: step for step in among}
    found: set[str] = set()
    waiting = [source for step in steps for sources in step.reads.values() for source, _ in sources]
    while waiting:
        name = waiting.pop()
        if name in by_name and name not in found:
            found.add(name)
            waiting += [source for sources in by_name[name].reads.values() for source, _ in sources]
    return found
