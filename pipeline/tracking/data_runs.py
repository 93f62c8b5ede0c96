"""Makes a tracked run of every completed data-preparation stage, from the manifests under a data root.

If `data-prep report` was run on a stage as it is now, its page becomes an artifact of the run, and its figures metrics.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from data_prep import store
from data_prep.configfile import flatten
from data_prep.errors import CorruptFile, UserError
from pipeline.tracking.lineage import DATASET_DIGEST_TAG, DIGEST_TAG, TASK_DIGEST_TAG, upstream_tags
from pipeline.tracking.mlflow import sync
from pipeline.tracking.runfolder import DatasetInput, RunInfo, RunRecord
from pipeline.tracking.uri import DEFAULT_EXPERIMENT

STAGE_FILE, PLAN_FILE, DATASET_FILE = "stage.json", "plan.json", "manifest.json"
PREFIX = "data/"
LABELLED = "labelled/"
ROOT_TAG, ORDER_TAG = "data_root", "order"
REPORTS, REPORT_PAGE, REPORT_PREFIX = "report", "report.html", "report/"


@dataclass(frozen=True)
class CompletedStage:
    """A stage as its manifest tells.

    Attributes:
        name: the stage's name, which is its folder's too.
        folder: where it wrote.
        digest: sha256 (hex) of its manifest.
        dataset_digest: digest of the token dataset in its folder, if it made one.
        task_digest: digest of the labelled task in its folder, if it made one (`pipeline.finetune.task.Task.digest`).
        content: the manifest.
        start_ms: unix time (ms) at which its plan was written.
        end_ms: unix time (ms) at which its manifest was written.
    """

    name: str
    folder: Path
    digest: str
    dataset_digest: str | None
    task_digest: str | None
    content: Mapping[str, Any]
    start_ms: int
    end_ms: int

    @staticmethod
    def load(folder: Path) -> CompletedStage:
        """Read a stage's folder.

        Raises:
            CorruptFile: no stage manifest, or one that does not match its digest.
        """
        path = folder / STAGE_FILE
        data = store.read_json(str(path))
        fix = "delete it and run the stage again"
        try:
            recorded = data["digest"]
            content = {key: value for key, value in data.items() if key not in ("format", "digest")}
            name, totals = content["stage"], content["totals"]
            _ = content["settings"], content["upstream"], totals["rows_in"], totals["rows_out"], totals["dropped"]
        except (AttributeError, KeyError, TypeError) as error:
            raise CorruptFile(f"not a stage manifest ({error!r})", where=str(path), fix=fix) from None
        if store.digest(content) != recorded:
            raise CorruptFile("the content does not match its digest", where=str(path), fix=fix)
        dataset = folder / DATASET_FILE
        end = _mtime_ms(path)
        plan = folder / PLAN_FILE
        return CompletedStage(
            name,
            folder,
            recorded,
            store.read_json(str(dataset)).get("digest") if dataset.exists() else None,
            _task_digest(content.get("outputs", [])),
            content,
            min(end, _mtime_ms(plan)) if plan.exists() else end,
            end,
        )

    @property
    def final(self) -> dict[str, float]:
        """Its counts as metrics."""
        totals = self.content["totals"]
        numbers = {f"summary/{k}": v for k, v in flatten(dict(self.content.get("summary", {}))).items()}
        return {
            "rows_in": float(totals["rows_in"]),
            "rows_out": float(totals["rows_out"]),
            **{f"dropped/{reason}": float(count) for reason, count in totals["dropped"].items()},
            **{f"extra/{key}": float(value) for key, value in totals.get("extra", {}).items()},
            **{k: float(v) for k, v in numbers.items() if isinstance(v, (int, float)) and not isinstance(v, bool)},
            "seconds": (self.end_ms - self.start_ms) / 1000,
        }


def completed_stages(root: Path) -> list[CompletedStage]:
    """The completed stages under a data root, each behind those it was made from.

    Raises:
        UserError: there is none.
    """
    stages = [CompletedStage.load(path.parent) for path in sorted(root.glob(f"*/{STAGE_FILE}"))]
    if not stages:
        raise UserError(
            f"no completed stage here (no */{STAGE_FILE})", where=str(root), fix="give the `root` of the data config"
        )
    by_digest = {stage.digest: stage for stage in stages}
    graph = {
        stage.digest: [digest for digest in stage.content["upstream"].values() if digest in by_digest]
        for stage in stages
    }
    return [by_digest[digest] for digest in TopologicalSorter(graph).static_order()]


def track_data(root: str | Path, uri: str | None, experiment: str = DEFAULT_EXPERIMENT) -> dict[str, Path]:
    """Make or update the run folder of each completed stage, under `tracking/data/` beside the data root.

    A stage whose run folder is there already, with the same digest, is left as it is.

    Args:
        root: the data root; its folders are the stages.
        uri: MLflow store to bring up to date; None writes the run folders alone.
        experiment: MLflow experiment.

    Returns:
        Stage name -> run folder, upstream stages first.

    Raises:
        UserError: no completed stage, a damaged manifest or report, or the store cannot be used.
    """
    folder = Path(root).absolute()
    stages = completed_stages(folder)
    made = {digest: stage for stage in stages for digest in (stage.digest, stage.dataset_digest) if digest}
    run_dirs = {}
    for order, stage in enumerate(stages):
        run_dir = folder.parent / "tracking" / PREFIX / stage.name
        _write_run(stage, order, run_dir, folder, made, experiment)
        run_dirs[stage.name] = run_dir
    if uri is not None:
        for run_dir in run_dirs.values():
            sync(run_dir, uri)
    return run_dirs


def _write_run(
    stage: CompletedStage, order: int, run_dir: Path, root: Path, made: Mapping[str, CompletedStage], experiment: str
) -> None:
    uid = store.digest({"stage": stage.digest, "root": str(root)})[:32]
    tags = {DIGEST_TAG: stage.digest, ROOT_TAG: str(root), ORDER_TAG: str(order), "code": stage.content["code"]}
    for tag, digest in ((DATASET_DIGEST_TAG, stage.dataset_digest), (TASK_DIGEST_TAG, stage.task_digest)):
        if digest is not None:
            tags[tag] = digest
    upstream, inputs = {}, []
    for label, digest in stage.content["upstream"].items():
        if digest in made:
            upstream[PREFIX + made[digest].name] = digest
            inputs.append(DatasetInput(PREFIX + made[digest].name, digest, str(made[digest].folder), "raw"))
        else:
            upstream[label] = digest
            inputs.append(DatasetInput(label, digest, _source(stage.folder / PLAN_FILE, label), "raw"))
    info = RunInfo(
        stage.name,
        PREFIX + stage.name,
        flatten(dict(stage.content["settings"])),
        tags | upstream_tags(upstream),
        inputs,
    )
    record = RunRecord.new(info, experiment, stage.start_ms, uid)
    record.final, record.status, record.end_time_ms = stage.final, "FINISHED", stage.end_ms
    report = _report(root, stage)
    if report is not None:
        figures, page = report
        record.final |= {REPORT_PREFIX + name: value for name, value in figures.items()}
        record.artifacts = [REPORT_PAGE]
        target = run_dir / REPORT_PAGE
        if not target.exists() or target.read_bytes() != page:
            store.write_bytes(str(target), page)
    try:
        if RunRecord.load(run_dir) == record:
            return
    except UserError:
        pass  # none yet, or a damaged one: written anew
    record.save(run_dir)


def _report(root: Path, stage: CompletedStage) -> tuple[dict[str, float], bytes] | None:
    """Figures and page of the report of a stage; None if there is none, or it was made of an earlier state.

    Raises:
        CorruptFile: the figures are damaged, or the page is not the one they name.
    """
    path = root / REPORTS / f"{stage.name}.json"
    if not path.exists():
        return None
    data, fix = store.read_json(str(path)), f"run `data-prep report --stage {stage.name}` again"
    try:
        if data["digest"] != stage.digest:
            return None
        figures = {str(name): float(value) for name, value in data["metrics"].items()}
        page = (path.parent / data["page"]["name"]).read_bytes()
        recorded = data["page"]["sha256"]
    except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise CorruptFile(f"not the figures of a report ({error!r})", where=str(path), fix=fix) from None
    if hashlib.sha256(page).hexdigest() != recorded:
        raise CorruptFile("the page is not the one that was made with these figures", where=str(path), fix=fix)
    return figures, page


def _task_digest(outputs: Sequence[Mapping[str, Any]]) -> str | None:
    files = {ref["path"]: ref["sha256"] for ref in outputs}
    splits = {Path(f).stem: sha for f, sha in files.items() if f.startswith(LABELLED) and f.endswith(".jsonl")}
    return store.digest(splits) if splits else None


def _source(plan: Path, label: str) -> str:
    """Where the raw files of an input lie, as the plan names them."""
    if not plan.exists():
        return label
    files = {
        ref["path"] for task in store.read_json(str(plan)).get("tasks", []) for ref in task["inputs"].get(label, [])
    }
    first = min(files, default=label)
    return first if len(files) <= 1 else f"{first} and {len(files) - 1} more files"


def _mtime_ms(path: Path) -> int:
    return path.stat().st_mtime_ns // 1_000_000
