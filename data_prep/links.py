"""Stage 2, links: all submissions of a canonical URL -> one row, if they earned enough karma.

GPT-2 2.1: links "which received at least 3 karma". OpenWebText2 adds up the karma of all submissions of a URL; the
paper can be read as "any one submission".

Under `any` and `max` only submissions that have `min_karma` themselves come this far, and a link is what those say:
how many they are, when the first was posted and where. Under `sum` all submissions count, and a URL that does not
reach `min_karma` is in the removal log; under the other rules such URLs are counted by submission in the stage before.
"""

from __future__ import annotations

from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from data_prep import store
from data_prep.configfile import Settings
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
"""One row per canonical URL, sorted by `id`. `score`: see `KarmaSettings.karma`; `posted_url`, `created_utc`,
`subreddit`: of the first submission that counts; `submissions`: how many count."""

KarmaRule = Literal["any", "sum", "max"]
_ORDER = ["id", "created_utc", "submission", "subreddit", "posted_url", "score"]


class KarmaSettings(Settings):
    """Which URLs become links.

    Attributes:
        karma: `any` and `max`: at least one submission has `min_karma`; they differ in the score recorded, which is
            that of the first such submission (`any`) or the highest (`max`). `sum`: the submissions together have it.
        min_karma: least karma of a link.
    """

    karma: KarmaRule = "any"
    min_karma: int = Field(default=3, ge=0)


class LinksSettings(SubmissionsSettings, KarmaSettings):
    """Which submissions count (`SubmissionsSettings`), and which URLs become links (`KarmaSettings`)."""


def choose_links(submissions: pa.Table, karma: KarmaRule, min_karma: int) -> tuple[pa.Table, pa.Table]:
    """Links, and the URLs left out for too little karma, both as `LINK` rows sorted by id.

    The order of the input rows does not matter: they are sorted by all their columns first.

    Args:
        submissions: rows of `SUBMISSION`; under `any` and `max` only such that have `min_karma`.
        karma: how karma of several submissions counts.
        min_karma: least karma of a link.
    """
    rows = submissions.sort_by([(name, "ascending") for name in _ORDER])
    first = [(name, "first") for name in ("url", "posted_url", "created_utc", "subreddit")]
    score = {"any": "first", "max": "max", "sum": "sum"}[karma]
    # One thread: with more, "first" is the first to arrive.
    grouped = (
        rows.group_by("id", use_threads=False).aggregate([*first, ("score", score), ("score", "count")]).sort_by("id")
    )
    columns = {
        "id": grouped["id"],
        "url": grouped["url_first"],
        "posted_url": grouped["posted_url_first"],
        "score": grouped[f"score_{score}"],
        "created_utc": grouped["created_utc_first"],
        "subreddit": grouped["subreddit_first"],
        "submissions": grouped["score_count"],
    }
    links = pa.table(columns).cast(LINK)
    enough = pc.greater_equal(links["score"], min_karma)
    return links.filter(enough), links.filter(pc.invert(enough))


class LinksStage(Stage):
    """Submissions -> links, one task per partition; one row per canonical URL.

    Writes `part-PPPPP.parquet`, sorted by id; partitions are ranges of the id space, so that their files in order are
    sorted as a whole. Holds the submissions of one partition in memory.

    Args:
        partitions: as in the stage before.
    """

    name = "links"
    revision = 2

    def __init__(
        self,
        folder: str,
        settings: KarmaSettings,
        inputs: dict[str, list[FileRef]],
        upstream: dict[str, str],
        *,
        partitions: int,
    ) -> None:
        # The rules for single submissions have their say through the input.
        self.rules = KarmaSettings(karma=settings.karma, min_karma=settings.min_karma)
        super().__init__(folder, self.rules, inputs, upstream)
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
