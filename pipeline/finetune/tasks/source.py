"""Which files a task is made of, and their digest; cheap to ask, nothing is parsed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from data_prep import store
from data_prep.errors import UserError
from pipeline.config.task_data import PLAIN, Metric, TableConfig, TaskDataConfig
from pipeline.finetune.tasks.form import Form, RowReader, usual_metrics
from pipeline.finetune.tasks.registry import registered

HELD_OUT = 0.1
"""Share of the training rows that is held out where nothing says another."""


@dataclass(frozen=True)
class Source:
    """What a task is read from.

    Attributes:
        where: the folder.
        form: its name; empty for data of the user's own.
        table: how to read the files.
        files: split -> paths.
        known: path -> sha256 (hex) that it must have.
        held_out: split -> share of the training rows.
        metrics: the headline first.
        licence: empty for data of the user's own.
        note: what a reader of a result should know.
        rows: reader of files that are no table.
    """

    where: str
    form: str
    table: TableConfig
    files: Mapping[str, tuple[str, ...]]
    known: Mapping[str, str]
    held_out: Mapping[str, float]
    metrics: tuple[Metric, ...]
    licence: str = ""
    note: str = ""
    rows: RowReader | None = None

    def digest(self) -> str:
        """sha256 (hex) over the files; that of data preparation's manifest for a folder of three JSONL files."""
        return store.digest({split: self.digest_of(split) for split in self.files})

    def digest_of(self, split: str) -> str:
        """sha256 (hex) of a split's file, or over its files and their names."""
        paths = self.files[split]
        if len(paths) == 1:
            return file_digest(paths[0])
        return store.digest([[path.removeprefix(self.where), file_digest(path)] for path in paths])

    def verify(self) -> None:
        """Compare the files with the known hashes.

        Raises:
            UserError: one differs.
        """
        for path, sha256 in self.known.items():
            found = file_digest(path)
            if found != sha256:
                raise UserError(
                    f"not the known file: sha256 is {found[:16]}..., and should be {sha256[:16]}...",
                    where=path,
                    fix="get it again, or set task.verify=false if you changed it on purpose",
                )


def resolve(config: TaskDataConfig) -> Source:
    """Find the files of a task.

    Raises:
        UserError: there is no such task, or files are missing; says which are expected where.
    """
    if config.path is not None:
        form, where, fix = Form("", PLAIN), config.path, "make the task, or correct task.path"
    elif config.table is not None:
        form, where, fix = Form("", config.table), str(config.root), "correct task.root or task.table.files"
    else:
        return _registered(config)
    files, missing = _find(form, where)
    if missing:
        raise UserError(f"no such task file{_more(missing)}", where=missing[0], fix=fix)
    return Source(
        where,
        "",
        form.table,
        files,
        {},
        _held_out(config, form),
        config.metrics or usual_metrics(form.table.kind, form.table.target),
    )


def _registered(config: TaskDataConfig) -> Source:
    task, root = registered(config.name), str(config.root)
    # The form of which most files are there is the one that was meant.
    nearest: tuple[int, Form, list[str]] | None = None
    for form in task.forms:
        for folder in form.folders:
            base = store.join(root, folder) if folder else root
            files, missing = _find(form, base)
            if not missing:
                known = {store.join(base, name): sha for name, sha in form.sha256.items()}
                used = {path for paths in files.values() for path in paths}
                return Source(
                    base,
                    form.name,
                    form.table,
                    files,
                    {path: sha for path, sha in known.items() if path in used},
                    _held_out(config, form),
                    task.metrics,
                    task.licence,
                    form.note,
                    form.rows,
                )
            found = sum(len(names) for names in form.table.files.values()) - len(missing)
            if found and (nearest is None or found > nearest[0]):
                nearest = (found, form, missing)
    if nearest is not None:
        _, form, missing = nearest
        raise UserError(
            f"of {config.name} (form {form.name!r}) this file is missing{_more(missing)}",
            where=missing[0],
            fix="unpack the whole data set, or correct task.root",
        )
    expected = "; ".join(f"{form.name}: {store.join(form.folders[0], _listed(form))}" for form in task.forms)
    raise UserError(
        f"no files of {config.name} are here; expected below it, one of these forms: {expected}",
        where=root,
        fix="correct task.root",
    )


def _listed(form: Form) -> str:
    names = list(dict.fromkeys(name for names in form.table.files.values() for name in names))
    return names[0] if len(names) == 1 else "{" + ",".join(names) + "}"


def _more(missing: Sequence[str]) -> str:
    return f" (and {len(missing) - 1} more: {', '.join(missing[1:4])})" if len(missing) > 1 else ""


def _held_out(config: TaskDataConfig, form: Form) -> dict[str, float]:
    """Split without a file -> its share of the training rows.

    Raises:
        UserError: a share is given for a split that has files; both shares together leave too little.
    """
    asked = {"validation": config.validation_share, "test": config.test_share}
    shares = {}
    for split, share in asked.items():
        if split not in form.table.files:
            shares[split] = share or form.held_out.get(split, HELD_OUT)
        elif share is not None:
            raise UserError(
                f"{split} has files of its own ({', '.join(form.table.files[split])})",
                where=f"task.{split}_share",
                fix="leave it out",
            )
    if sum(shares.values()) >= 1:
        raise UserError("validation and test leave nothing to train on", where="task.test_share", fix="lower it")
    return shares


def _find(form: Form, base: str) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Split -> paths, and what is missing."""
    files, missing = {}, []
    for split, names in form.table.files.items():
        found: list[str] = []
        for name in names:
            path = store.join(base, name)
            # A folder of `datasets` is one file here.
            matches = store.listing(path) if any(sign in name for sign in "*?[") else [path] * store.exists(path)
            found += matches
            if not matches:
                missing.append(path)
        files[split] = tuple(found)
    return files, missing


def file_digest(path: str) -> str:
    """sha256 (hex) of a file, or over the files in a folder; computed once while the file stays as it is."""
    if not store.is_local(path):
        return store.sha256_of(path)
    local = store.local(path)
    if local.is_dir():
        inside = sorted(item for item in local.rglob("*") if item.is_file() and not item.name.startswith("cache-"))
        return store.digest({item.relative_to(local).as_posix(): file_digest(str(item)) for item in inside})
    state = local.stat()
    return _hashed(path, state.st_size, state.st_mtime_ns, state.st_ino)


@cache
def _hashed(path: str, size: int, mtime_ns: int, inode: int) -> str:
    return store.sha256_of(path)
