"""Runs the stage `fetch` over queues on the disk: `python fetch_run.py FOLDER`, to be killed in the middle.

FOLDER/settings.json holds the settings, FOLDER/queues the queues; results go to FOLDER/fetch.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hostile_server import links

from data_prep.dedup.exact import PartitionSettings
from data_prep.fetch.queues import QUEUED, FetchQueuesStage
from data_prep.fetch.settings import FetchSettings
from data_prep.fetch.stage import FetchStage
from data_prep.manifest import FileRef, StageManifest
from data_prep.runner import run_stage


def write_links(folder: Path, *files: list[str]) -> None:
    """Files of links of some posted URLs."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, urls in enumerate(files):
        rows = [{"id": link.id, "url": link.url, "posted_url": link.posted_url} for link in links(*urls)]
        pq.write_table(pa.Table.from_pylist(rows, schema=QUEUED), folder / f"part-{i:05d}.parquet")


def queues(folder: Path, partitions: int) -> StageManifest:
    refs = [FileRef.of(str(path)) for path in sorted((folder / "links").glob("*"))]
    settings = PartitionSettings(partitions=partitions)
    return run_stage(
        FetchQueuesStage(str(folder / "queues"), settings, {"links": refs}, {"links": "x"}), 1, _quiet, "inline"
    )


def fetch_stage(folder: Path, settings: FetchSettings, partitions: int = 1) -> FetchStage:
    found = queues(folder, partitions).files(str(folder / "queues"), "0")
    return FetchStage(str(folder / "fetch"), settings, {"queues": found}, {"queues": "x"}, partitions=partitions)


def fetch(folder: Path, settings: FetchSettings, partitions: int = 1) -> StageManifest:
    return run_stage(fetch_stage(folder, settings, partitions), 1, _quiet, "inline")


def _quiet(line: str) -> None:
    pass


if __name__ == "__main__":
    where = Path(sys.argv[1])
    fetch(where, FetchSettings(**json.loads((where / "settings.json").read_text())))
