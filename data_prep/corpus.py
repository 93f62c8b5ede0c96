"""A corpus as its folders tell: which stages are there, what they planned and did, which documents they hold.

Reads what `data_prep.runner` wrote, also while another process is still writing; changes nothing.
"""

from __future__ import annotations

import difflib
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep import configfile, store
from data_prep.config import DataConfig
from data_prep.errors import CorruptFile, UserError
from data_prep.manifest import FileRef, StageManifest
from data_prep.runner import PLAN_FILE
from data_prep.stage import REMOVED_PREFIX
from data_prep.step import Step, connected
from data_prep.steps import STEPS, enabled_steps

_CONFIG_ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True)
class StageView:
    """A stage that has begun.

    Attributes:
        step: its place in the chain.
        folder: where it writes.
        plan: its plan (`stage.plan_json`).
        manifest: what it did; None until it is complete.
    """

    step: Step
    folder: str
    plan: Mapping[str, Any]
    manifest: StageManifest | None

    @property
    def name(self) -> str:
        """The stage's name."""
        return self.step.name

    @property
    def outputs(self) -> list[FileRef]:
        """Files with what it kept, full paths; none until it is complete."""
        if self.manifest is None:
            return []
        return [ref for ref in self.manifest.files(self.folder) if not ref.path.startswith(self._removed)]

    @property
    def removals(self) -> list[FileRef]:
        """Its removal logs, one a task, full paths; none until it is complete."""
        return [] if self.manifest is None else self.manifest.files(self.folder, REMOVED_PREFIX)

    @property
    def documents(self) -> list[FileRef]:
        """Those of its outputs that hold documents (rows with a text)."""
        return [ref for ref in self.outputs if posixpath.basename(ref.path).startswith("part-") and holds(ref, "text")]

    @property
    def _removed(self) -> str:
        return store.join(self.folder, REMOVED_PREFIX)


@dataclass(frozen=True)
class Corpus:
    """The stages under one root.

    Attributes:
        root: the folder.
        name: the corpus's name.
        stages: those that have begun, in the order of the chain.
        waiting: names of those that have not; without a config, none of those that only some corpora have.
    """

    root: str
    name: str
    stages: tuple[StageView, ...]
    waiting: tuple[str, ...]

    @staticmethod
    def open(target: str, overrides: Sequence[str] = ()) -> Corpus:
        """Look at the root of a config, or at a root.

        Args:
            target: a config file (its name ends with .yaml or .yml), or a root: a folder or fsspec URL.
            overrides: settings that win over the config's.

        Raises:
            UserError: there is no such file or folder, or no stage has begun.
        """
        configured = target.endswith(_CONFIG_ENDINGS) or (store.is_local(target) and Path(target).is_file())
        if configured:
            config = configfile.load(target, DataConfig, overrides)
            root, name, steps = config.root, config.name, enabled_steps(config)
        elif overrides:
            raise UserError(
                "settings can be changed of a config, not of a folder",
                where=" ".join(overrides),
                fix="give the config, or leave the settings out",
            )
        else:
            root, name, steps = target, posixpath.basename(target.rstrip("/")), list(STEPS)
        store.filesystem(root)[0].invalidate_cache()  # another process may be writing
        views = [view for step in steps if (view := _view(root, step)) is not None]
        if not views:
            raise UserError(
                "no stage has begun here" if configured or store.exists(root) else "no such config or folder",
                where=root,
                fix="give a config, or the folder that its `root` names; `data-prep run` fills it",
            )
        begun = {view.name for view in views}
        if not configured:
            name = next((_source(view) for view in views if _source(view)), name)
            steps_begun = connected([view.step for view in views])
            views = [replace(view, step=step) for view, step in zip(views, steps_begun, strict=True)]
        waiting = [step.name for step in steps if step.name not in begun and (configured or not step.optional)]
        return Corpus(root, name, tuple(views), tuple(waiting))

    def stage(self, name: str) -> StageView:
        """A stage that has begun.

        Raises:
            UserError: there is none of this name; names the nearest.
        """
        for view in self.stages:
            if view.name == name:
                return view
        if name in self.waiting:
            raise UserError(f"the stage {name} has not begun", where=self.root, fix="run it first")
        raise unknown("stage", name, [*(view.name for view in self.stages), *self.waiting])

    def complete(self, name: str) -> StageView:
        """A stage that is complete.

        Raises:
            UserError: there is none, or it is not complete.
        """
        view = self.stage(name)
        if view.manifest is None:
            raise UserError(f"the stage {name} is not complete", where=view.folder, fix="run it to its end first")
        return view

    def document_stages(self) -> list[StageView]:
        """Complete stages whose outputs are documents, in order.

        Raises:
            UserError: there is none.
        """
        found = [view for view in self.stages if view.step.funnel and view.documents]
        if not found:
            raise UserError(
                "no stage that makes documents is complete", where=self.root, fix="run `data-prep pages` first"
            )
        return found

    def here(self, path: str, sources: Iterable[str]) -> str | None:
        """Where a file that a plan names lies now: there, or under this root if the corpus was moved; else None.

        Args:
            path: as the plan spells it.
            sources: names of the stages that may have made it.
        """
        if store.exists(path):
            return path
        for source in sources:
            at = path.rfind(f"/{source}/")
            if at >= 0 and store.exists(moved := store.join(self.root, path[at + 1 :])):
                return moved
        return None


def unknown(kind: str, name: str, known: Sequence[str]) -> UserError:
    """The error for a name that is not one of `known`: names the nearest, or all."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    fix = f"did you mean {near[0]}?" if near else f"there are {', '.join(known) or 'none'}"
    return UserError(f"unknown {kind} {name!r}", where="command line", fix=fix)


def holds(ref: FileRef, *columns: str) -> bool:
    """Whether a file is Parquet with these columns."""
    if not ref.path.endswith(".parquet"):
        return False
    try:
        with store.open_read(ref.path) as handle:
            return set(columns) <= set(pq.read_schema(handle).names)
    except (pa.ArrowInvalid, OSError) as error:
        raise CorruptFile(f"cannot be read as Parquet ({error})", where=ref.path, fix="run its stage again") from None


def _source(view: StageView) -> str:
    """The corpus's name, if the stage has it among its parameters, as every document will."""
    return next((str(task["params"]["source"]) for task in view.plan["tasks"] if "source" in task["params"]), "")


def _view(root: str, step: Step) -> StageView | None:
    folder = store.join(root, step.name)
    path = store.join(folder, PLAN_FILE)
    if not store.exists(path):
        return None
    try:
        plan = store.read_json(path)
    except FileNotFoundError:  # the run has just cleared it
        return None
    try:
        manifest = StageManifest.load(folder)
    except FileNotFoundError:
        manifest = None
    return StageView(step, folder, plan, manifest)
