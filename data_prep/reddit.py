"""Stage 1, submissions: a Pushshift dump -> rows that may become links, partitioned by URL id.

GPT-2 2.1: "we scraped all outbound links from Reddit". A row is a candidate if it is a link post with a usable
URL that leads out of Reddit, a score and a date inside the window. Which URLs have enough karma is decided in
`data_prep.links`, where all submissions of a URL come together.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pyarrow as pa

from data_prep.configfile import Settings
from data_prep.dumps import DumpReader
from data_prep.errors import UserError
from data_prep.manifest import FileRef
from data_prep.stage import Stage, Task, TaskOutput
from data_prep.urls import canonical_url, host_of, partition_of, registered_domain, url_id

REDDIT_DOMAINS = frozenset({"reddit.com", "redd.it", "redditmedia.com", "redditstatic.com", "redditblog.com"})
_NUMBER_BOUND = 2**53
_ENTITIES = (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&#39;", "'"), ("&amp;", "&"))

SUBMISSION = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("posted_url", pa.string(), nullable=False),
        pa.field("score", pa.int64(), nullable=False),
        pa.field("created_utc", pa.int64(), nullable=False),
        pa.field("subreddit", pa.string()),
        pa.field("submission", pa.string(), nullable=False),
    ]
)
"""`id`, `url`: of the canonical URL; `posted_url`: as submitted, entities decoded; `score`: karma at the time of the
dump; `created_utc`: seconds since 1970; `subreddit`: null for the promoted posts that have none; `submission`:
Reddit's id of the post."""


class SubmissionsSettings(Settings):
    """Which submissions count.

    Attributes:
        before: only submissions created before this day, 00:00 UTC; null for no limit.
        over_18: whether posts marked "over 18" are kept.
    """

    before: date | None = None
    over_18: bool = True


class Submission(msgspec.Struct):
    """The fields that are read, with every type they have had in the dumps since 2005."""

    id: str | None = None
    url: str | None = None
    url_overridden_by_dest: str | None = None
    score: int | float | None = None
    created_utc: int | float | str | None = None
    subreddit: str | None = None
    domain: str | None = None
    is_self: bool | None = None
    over_18: bool | None = None


def unescape(url: str) -> str:
    """Undo the entities that Reddit writes into URLs.

    Only those: a general HTML decoder would turn `?a=1&copy=2` into `?a=1(c)=2`.
    """
    if "&" in url:
        for entity, character in _ENTITIES:
            url = url.replace(entity, character)
    return url


def _whole(value: int | float | str | None) -> int | None:
    """A number that the dumps write as integer, float or string; None if it is none."""
    if value is None:
        return None
    try:
        number = int(float(value)) if isinstance(value, str) else int(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < _NUMBER_BOUND else None


class RowRules:
    """Decides on single submissions; built once per task.

    Args:
        settings: the rules.
    """

    def __init__(self, settings: SubmissionsSettings) -> None:
        self._settings = settings
        before = settings.before
        self._before = (
            None if before is None else datetime(before.year, before.month, before.day, tzinfo=UTC).timestamp()
        )
        self._decode: Callable[[bytes], Submission] = msgspec.json.Decoder(Submission).decode

    def __call__(self, line: bytes) -> dict[str, Any] | str:
        """A row of `SUBMISSION`, or the reason why the line gives none."""
        try:
            post = self._decode(line)
        except msgspec.ValidationError:
            return "bad-field"
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return "not-json"
        if post.is_self or (post.domain or "").startswith("self."):
            return "self-post"
        posted = post.url_overridden_by_dest or post.url
        if not posted:
            return "no-url"
        if (score := _whole(post.score)) is None:
            return "no-score"
        if (created := _whole(post.created_utc)) is None:
            return "no-date"
        if self._before is not None and created >= self._before:
            return "too-late"
        if post.over_18 and not self._settings.over_18:
            return "over-18"
        posted = unescape(posted)
        if (url := canonical_url(posted)) is None:
            return "bad-url"
        if registered_domain(host_of(url)) in REDDIT_DOMAINS:
            return "link-to-reddit"
        return {
            "id": url_id(url),
            "url": url,
            "posted_url": posted,
            "score": score,
            "created_utc": created,
            "subreddit": post.subreddit,
            "submission": post.id or "",
        }


class SubmissionsStage(Stage):
    """Dumps -> candidate submissions, one task per dump file.

    Writes `PPPPP-TTTTT.parquet` for each partition P of the id space and each task T. Holds in memory one chunk of the
    dump, the decompressor's window (up to 2 GiB in the dumps as published) and up to 1,024 rows per partition.

    Args:
        partitions: into how many ranges of the id space rows are divided.
    """

    name = "submissions"

    def __init__(
        self,
        folder: str,
        settings: SubmissionsSettings,
        inputs: dict[str, list[FileRef]],
        upstream: dict[str, str],
        *,
        partitions: int,
    ) -> None:
        # Rules of later stages that share the section of the config must not make this one run again.
        own = {name: getattr(settings, name) for name in SubmissionsSettings.model_fields}
        super().__init__(folder, SubmissionsSettings(**own), inputs, upstream)
        self.rules = SubmissionsSettings(**own)
        self.partitions = partitions

    def plan(self) -> list[Task]:
        """One task per dump file."""
        params = {"partitions": self.partitions}
        return [Task(task.index, task.inputs, params) for task in self.one_task_per_file("dumps")]

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Read one dump.

        Raises:
            CorruptFile: the file is cut short or damaged; names the byte.
            UserError: not one line of the file is a submission.
        """
        path = task.inputs["dumps"][0].path
        writers = [out.rows(f"{p:05d}-{task.index:05d}.parquet", SUBMISSION) for p in range(self.partitions)]
        decide = RowRules(self.rules)
        broken = 0
        with DumpReader(path) as dump:
            for line in dump:
                out.rows_in += 1
                row = decide(line)
                if isinstance(row, str):
                    out.skip(row)
                    broken += row == "not-json"
                else:
                    writers[partition_of(row["id"], self.partitions)].add(row)
                    out.rows_out += 1
                if out.rows_in % 4096 == 0:
                    out.advance(dump.bytes_read, dump.bytes_total, "bytes")
        if broken == out.rows_in:
            raise UserError(
                f"none of its {out.rows_in:,} lines is JSON" if out.rows_in else "holds no line at all",
                where=path,
                fix="give Pushshift submissions (RS_*), one JSON object a line",
            )
