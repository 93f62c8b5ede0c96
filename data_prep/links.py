"""Stage 2, links: all submissions of a canonical URL -> one row, if they earned enough karma.

GPT-2 2.1: links "which received at least 3 karma". OpenWebText2 adds up the karma of all submissions of a URL; the
paper can be read as "any one submission".
"""

from __future__ import annotations

from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from data_prep import store
from data_prep.errors import CorruptFile
from data_prep.manifest import FileRef
from data_prep.reddit import SUBMISSION, SubmissionsSettings
from data_prep.stage import Stage, Task, TaskOutput

LINK = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("posted_url", pa.string(), nullable=False),
        pa.field("score", pa.int64(), nullable=False),
        pa.field("created_utc", pa.int64(), nullable=False),
        pa.field("subreddit", pa.string()),
        pa.field("submissions", pa.int64(), nullable=False),
    ]
)
"""One row per canonical URL, sorted by `id`. `score`: see `LinksSettings.karma`; `posted_url`, `created_utc`,
`subreddit`: of the first submission; `submissions`: how many there were."""

KarmaRule = Literal["any", "sum", "max"]
_ORDER = ["id", "created_utc", "submission", "subreddit", "posted_url", "score"]


class LinksSettings(SubmissionsSettings):
    """Which submissions count, and which URLs become links.

    Attributes:
        karma: `any` and `max`: at least one submission has `min_karma`; they differ in the score recorded, which is
            that of the first such submission (`any`) or the highest (`max`). `sum`: the submissions together have it.
        min_karma: least karma of a link.
    """

    karma: KarmaRule = "any"
    min_karma: int = Field(default=3, ge=0)


def choose_links(submissions: pa.Table, karma: KarmaRule, min_karma: int) -> tuple[pa.Table, pa.Table]:
    """Links, and the URLs left out for too little karma, both as `LINK` rows sorted by id.

    The order of the input rows does not matter: they are sorted by all their columns first.

    Args:
        submissions: rows of `SUBMISSION`.
        karma: how karma of several submissions counts.
        min_karma: least karma of a link.
    """
    rows = submissions.sort_by([(name, "ascending") for name in _ORDER])
    first = [(name, "first") for name in ("url", "posted_url", "created_utc", "subreddit")]
    # One thread: with more, "first" is the first to arrive.
    grouped = (
        rows.group_by("id", use_threads=False)
        .aggregate([*first, ("score", "max"), ("score", "sum"), ("score", "count")])
        .sort_by("id")
    )
    total = grouped["score_sum" if karma == "sum" else "score_max"]
    score = total
    if karma == "any":
        passing = rows.filter(pc.greater_equal(rows["score"], min_karma)).select(["id", "score"])
        found = passing.group_by("id", use_threads=False).aggregate([("score", "first")])
        at = pc.index_in(grouped["id"], value_set=found["id"])
        score = pc.coalesce(found["score_first"].take(at), total)
    columns = {
        "id": grouped["id"],
        "url": grouped["url_first"],
        "posted_url": grouped["posted_url_first"],
        "score": score,
        "created_utc": grouped["created_utc_first"],
        "subreddit": grouped["subreddit_first"],
        "submissions": grouped["score_count"],
    }
    links = pa.table(columns).cast(LINK)
    enough = pc.greater_equal(total, min_karma)
    return links.filter(enough), links.filter(pc.invert(enough))


class LinksStage(Stage):
    """Submissions -> links, one task per partition; one row per canonical URL.

    Writes `part-PPPPP.parquet`, sorted by id; partitions are ranges of the id space, so that their files in order are
    sorted as a whole. Holds the submissions of one partition in memory.

    Args:
        partitions: as in the stage before.
    """

    name = "links"

    def __init__(
        self,
        folder: str,
        settings: LinksSettings,
        inputs: dict[str, list[FileRef]],
        upstream: dict[str, str],
        *,
        partitions: int,
    ) -> None:
        super().__init__(folder, settings, inputs, upstream)
        self.rules = settings
        self.partitions = partitions

    def plan(self) -> list[Task]:
        """One task per partition."""
        return self.one_task_per_partition("submissions", self.partitions)

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Settle one partition."""
        tables = [_read(ref.path) for ref in task.inputs["submissions"]]
        submissions = pa.concat_tables(tables) if tables else SUBMISSION.empty_table()
        links, poor = choose_links(submissions, self.rules.karma, self.rules.min_karma)
        out.rows(f"part-{task.params['partition']:05d}.parquet", LINK).add_table(links)
        repeats = submissions.num_rows - links.num_rows - poor.num_rows
        out.rows_in, out.rows_out = submissions.num_rows, links.num_rows
        out.skip("repeated-submission", repeats)
        for batch in poor.to_batches():
            for row in batch.to_pylist():
                out.drop("low-karma", id=row["id"], url=row["url"], score=row["score"])


def _read(path: str) -> pa.Table:
    try:
        with store.open_read(path) as handle:
            return pq.read_table(handle, schema=SUBMISSION)
    except (pa.ArrowInvalid, OSError) as error:
        raise CorruptFile(
            f"cannot be read as Parquet ({error})", where=path, fix="delete it and run its stage again"
        ) from None
