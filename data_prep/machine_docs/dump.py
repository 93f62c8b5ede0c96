"""The machine-dump stage: made-up submissions in Pushshift form that link to the pages of the machine."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar
from urllib.parse import urlsplit

import orjson
import zstandard
from pydantic import Field

from data_prep import store
from data_prep.configfile import Settings
from data_prep.keyed import draw
from data_prep.stage import Stage, Task, TaskOutput

DUMP_FILE = "RS_demo.zst"
_SEED = 1
_FIRST_SECOND, _LAST_SECOND = 1_704_067_200, 1_706_745_600  # January 2024, UTC
_SUBREDDITS = ("made_up_demo", "made_up_demo_python", "made_up_demo_docs", "made_up_demo_licences")
_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"


class DumpSettings(Settings):
    """What the made-up submissions look like; shares are of the pages.

    Attributes:
        window_log: log2 of the zstd window, as Pushshift's dumps have up to 31; a reader needs as much memory.
        below_three: share of submissions with a score below 3.
        repeated: share of pages submitted more than once.
        dead: submissions of pages that are nowhere, per page.
        images: submissions of images, per page.
        self_posts: submissions without a link, per page.
    """

    window_log: int = Field(default=27, ge=10, le=31)
    below_three: float = Field(default=0.3, ge=0, le=1)
    repeated: float = Field(default=0.2, ge=0, le=1)
    dead: float = Field(default=0.2, ge=0, le=1)
    images: float = Field(default=0.1, ge=0, le=1)
    self_posts: float = Field(default=0.15, ge=0, le=1)


class MachineDumpStage(Stage):
    """Draws submissions for the pages listed in the input "index" and writes them as `RS_demo.zst`.

    Every draw is a keyed hash of the page's address. Held in memory: the rows (about 1 kB each), to sort them by time.
    """

    name: ClassVar[str] = "machine-dump"
    settings: DumpSettings

    def plan(self) -> list[Task]:
        """One task: ids follow the order in time of all submissions."""
        return [Task(0, {"index": self.inputs["index"]}, {})]

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Write the dump."""
        drafts: list[dict[str, Any]] = []
        for ref in task.inputs["index"]:
            with store.open_read(ref.path) as lines:
                for line in lines:
                    page = orjson.loads(line)
                    out.rows_in += 1
                    drafts += submissions(page["url"], page["title"], self.settings)
        drafts.sort(key=lambda row: (row["created_utc"], row["url"], row["subreddit"]))
        parameters = zstandard.ZstdCompressionParameters.from_level(
            3, window_log=self.settings.window_log, enable_ldm=True, write_checksum=True
        )
        compressor = zstandard.ZstdCompressor(compression_params=parameters)
        with compressor.stream_writer(out.file(DUMP_FILE), closefd=False) as writer:
            for number, draft in enumerate(drafts):
                writer.write(orjson.dumps(complete(draft, number)) + b"\n")
                out.rows_out += 1


def submissions(url: str, title: str, settings: DumpSettings) -> Iterator[dict[str, Any]]:
    """The submissions drawn for one page, without ids: of the page itself and, by chance, of things beside it."""
    times = 1
    if draw(_SEED, "repeated", url) < settings.repeated:
        times += 1 + int(2 * draw(_SEED, "times", url))
    for i in range(times):
        key = f"{url} {i}"
        # Submitted again, a page goes to another subreddit.
        start = int(draw(_SEED, "subreddit", url) * len(_SUBREDDITS))
        yield _draft(key, variant(url, key), title, _SUBREDDITS[(start + i) % len(_SUBREDDITS)], settings)
    if draw(_SEED, "dead", url) < settings.dead:
        parts = urlsplit(url)
        gone = f"{parts.scheme}://{parts.netloc}/old{parts.path}"
        yield _draft(f"{url} dead", gone, title, _SUBREDDITS[0], settings)
    if draw(_SEED, "image", url) < settings.images:
        name = f"{int(draw(_SEED, 'image name', url) * 36**7):x}"
        yield _draft(f"{url} image", f"https://i.imgur.com/{name}.png", title, _SUBREDDITS[0], settings)
    if draw(_SEED, "self", url) < settings.self_posts:
        row = _draft(f"{url} self", "", title, _SUBREDDITS[0], settings)
        yield {**row, "is_self": True, "selftext": "[removed]"}


def score(key: str, below_three: float) -> int:
    """A score whose share below 3 is `below_three`; the rest has a heavy tail, as karma has."""
    chance = draw(_SEED, "score", key)
    if chance < below_three:
        return int(3 * chance / below_three)
    rank = (1 - chance) / (1 - below_three)  # uniform in (0, 1]
    return min(50_000, 3 + int(2 * (rank**-0.9 - 1)))


def variant(url: str, key: str) -> str:
    """The address as this submitter wrote it: mostly as it is, at times with what canonical addresses leave out."""
    chance = draw(_SEED, "variant", key)
    if chance < 0.10:
        return "http://" + url.removeprefix("https://")
    if chance < 0.15 and urlsplit(url).netloc.count(".") == 1:
        return url.replace("https://", "https://www.", 1)
    if chance < 0.22:
        return f"{url}#contents"
    if chance < 0.29:
        return f"{url}?utm_source=made_up&utm_medium=demo"
    if chance < 0.33:
        # Pushshift keeps the HTML escapes of the site's own JSON.
        return f"{url}?utm_source=made_up&amp;utm_medium=demo"
    return url


def _draft(key: str, url: str, title: str, subreddit: str, settings: DumpSettings) -> dict[str, Any]:
    when = _FIRST_SECOND + int(draw(_SEED, "created", key) * (_LAST_SECOND - _FIRST_SECOND))
    return {
        "url": url,
        "title": title[:300],
        "subreddit": subreddit,
        "created_utc": when,
        "score": score(key, settings.below_three),
        "num_comments": math.floor(-5 * math.log(1 - draw(_SEED, "comments", key))),
        "is_self": False,
        "selftext": "",
    }


def complete(draft: dict[str, Any], number: int) -> dict[str, Any]:
    """A draft with the remaining fields of a Pushshift row; `number` gives the id."""
    identity = base36(100_000_000 + number)
    subreddit = draft["subreddit"]
    permalink = f"/r/{subreddit}/comments/{identity}/made_up/"
    url = draft["url"] or f"https://www.reddit.com{permalink}"
    return {
        "all_awardings": [],
        "archived": False,
        "author": "[deleted]",
        "author_flair_css_class": None,
        "author_flair_text": None,
        "contest_mode": False,
        "created_utc": draft["created_utc"],
        "distinguished": None,
        "domain": f"self.{subreddit}" if draft["is_self"] else urlsplit(url).netloc,
        "edited": False,
        "gilded": 0,
        "hidden": False,
        "hide_score": False,
        "id": identity,
        "is_crosspostable": False,
        "is_reddit_media_domain": False,
        "is_self": draft["is_self"],
        "is_video": False,
        "link_flair_css_class": None,
        "link_flair_text": "made up",
        "locked": False,
        "media": None,
        "name": f"t3_{identity}",
        "num_comments": draft["num_comments"],
        "num_crossposts": 0,
        "over_18": False,
        "permalink": permalink,
        "pinned": False,
        "quarantine": False,
        "retrieved_on": _LAST_SECOND,
        "score": draft["score"],
        "selftext": draft["selftext"],
        "send_replies": True,
        "spoiler": False,
        "stickied": False,
        "subreddit": subreddit,
        "subreddit_id": "t5_demo" + base36(_SUBREDDITS.index(subreddit)),
        "subreddit_type": "public",
        "thumbnail": "self" if draft["is_self"] else "default",
        "title": draft["title"],
        "url": url,
    }


def base36(number: int) -> str:
    """Reddit's way to write ids: 0-9, a-z."""
    digits = ""
    while True:
        number, digit = divmod(number, 36)
        digits = _BASE36[digit] + digits
        if number == 0:
            return digits
