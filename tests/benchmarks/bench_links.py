"""Reading a dump of submissions against decompressing the same file, in CPU time: MB/s per core.

Two dumps with the window of the published ones. The first has rows with the fields of 2018 and of their length; what
they say is drawn at random. 45 % are self posts, three quarters of all scores are below 3 and a tenth of the links lead
to Reddit, so that an eighth of the rows is kept: WebText's 45 million links are about a tenth of the submissions until
2017 (Baumgartner et al. 2020 count 652 million until April 2019). The second dump, if WEBTEXT_DATA_ROOT is set, has the
real rows of `reddit_dump`, short and nearly all links with karma.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard
from measure import Row, alternate, peak_mib

from data_prep import urls
from data_prep.dumps import DumpReader
from data_prep.links import LinksSettings
from data_prep.manifest import FileRef, TaskManifest
from data_prep.stage import TaskOutput
from data_prep.store import read_json
from data_prep.submissions import SubmissionsStage

ROWS = int(os.environ.get("BENCH_LINKS_ROWS", "240_000"))
WINDOW_LOG = 31
"""As the published dumps."""
FLAGS = """
    archived can_gild contest_mode hidden hide_score is_crosspostable is_meta is_original_content is_video locked
    is_reddit_media_domain media_only no_follow pinned quarantine send_replies spoiler stickied
"""
NULLS = """
    author_flair_css_class author_flair_text category content_categories distinguished link_flair_css_class
    link_flair_text media secure_media suggested_sort view_count
"""


def preview(draw: random.Random) -> dict[str, Any]:
    """Addresses of the same picture in four sizes."""

    def picture(width: int) -> dict[str, Any]:
        name, sign = (f"{draw.getrandbits(160):x}" for _ in range(2))
        url = f"https://external-preview.redd.it/{name}.jpg?width={width}&amp;crop=smart&amp;auto=webp&amp;s={sign}"
        return {"height": width // 2, "url": url, "width": width}

    sizes = [picture(width) for width in (108, 216, 320)]
    images = {"id": f"{draw.getrandbits(128):x}", "resolutions": sizes, "source": picture(640), "variants": {}}
    return {"preview": {"enabled": False, "images": [images]}}


def full_month() -> Iterator[bytes]:
    """Rows as of 2018-05, about 2.1 KB long."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 10))) for _ in range(5000)]
    for number in range(ROWS):
        is_self = draw.random() < 0.45
        # A few hosts have most of the links: one in eight links names a host for the first time, as in reddit_dump.
        host = f"{words[int(len(words) * draw.random() ** 5)]}.{draw.choice(('com', 'com', 'com', 'org', 'co.uk'))}"
        link = f"https://www.{host}/{draw.choice(words)}/{draw.choice(words)}-{number}"
        if draw.random() < 0.3:
            link += f"?utm_source=x&amp;id={number}"
        if draw.random() < 0.1:
            link = f"https://i.redd.it/{draw.getrandbits(60):x}.jpg"
        subreddit, author, post_id = draw.choice(words[:500]), draw.choice(words), f"{number:x}"
        permalink = f"/r/{subreddit}/comments/{post_id}/{'_'.join(draw.choices(words, k=6))}/"
        post = {
            "author": author,
            "author_fullname": f"t2_{draw.getrandbits(32):x}",
            "author_flair_richtext": [],
            "author_flair_type": "text",
            "created_utc": 1_525_132_800 + number,
            "domain": f"self.{subreddit}" if is_self else host,
            "edited": False,
            "gilded": 0,
            "id": post_id,
            "is_self": is_self,
            "link_flair_richtext": [],
            "link_flair_text_color": "dark",
            "link_flair_type": "text",
            "media_embed": {},
            "num_comments": draw.randint(0, 90),
            "num_crossposts": 0,
            "over_18": draw.random() < 0.05,
            "parent_whitelist_status": "all_ads",
            "permalink": permalink,
            "post_hint": "self" if is_self else "link",
            "pwls": 6,
            "retrieved_on": 1_528_000_000 + number,
            "rte_mode": "markdown",
            "score": draw.choice((0, 1, 1, 1, 2, 2)) if draw.random() < 0.75 else draw.randint(3, 400),
            "secure_media_embed": {},
            "selftext": " ".join(draw.choices(words, k=draw.randint(5, 160))) if is_self else "",
            "subreddit": subreddit,
            "subreddit_id": f"t5_{draw.getrandbits(24):x}",
            "subreddit_name_prefixed": f"r/{subreddit}",
            "subreddit_subscribers": draw.randint(1, 10**7),
            "subreddit_type": "public",
            "thumbnail": "self" if is_self else f"https://b.thumbs.redditmedia.com/{draw.getrandbits(200):x}.jpg",
            "thumbnail_height": 78,
            "thumbnail_width": 140,
            "title": " ".join(draw.choices(words, k=10)),
            "url": f"https://www.reddit.com{permalink}" if is_self else link,
            "whitelist_status": "all_ads",
            "wls": 6,
            **{flag: draw.random() < 0.1 for flag in FLAGS.split()},
            **dict.fromkeys(NULLS.split()),
            **(preview(draw) if not is_self and draw.random() < 0.5 else {}),
        }
        yield orjson.dumps(post, option=orjson.OPT_SORT_KEYS)


def real_rows() -> Iterator[bytes]:
    """The rows of `reddit_dump`, each once."""
    for path in sorted((Path(os.environ["WEBTEXT_DATA_ROOT"]) / "reddit_dump").glob("RS_*.zst")):
        with DumpReader(str(path)) as dump:
            yield from dump


def write(rows: Iterator[bytes], path: str) -> tuple[int, float]:
    """Writes a dump; returns its rows and its megabytes, decompressed."""
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=WINDOW_LOG, enable_ldm=True)
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    count = size = 0
    with Path(path).open("wb") as handle, compressor.stream_writer(handle) as out:
        for row in rows:
            size += out.write(row + b"\n") and len(row) + 1
            count += 1
    return count, size / 1e6


def decompress(path: str) -> None:
    with Path(path).open("rb") as handle:
        reader = zstandard.ZstdDecompressor(max_window_size=2**WINDOW_LOG).stream_reader(handle)
        block = memoryview(bytearray(1 << 20))
        while reader.readinto(block):
            pass


def cpu_seconds() -> float:
    """Of this process, all its threads, and the processes that it waited for."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def command_line(path: str) -> None:
    """`zstd -d`, or as much in Python where it is not installed."""
    if shutil.which("zstd"):
        subprocess.run(["zstd", "-dcq", f"--long={WINDOW_LOG}", path], stdout=subprocess.DEVNULL, check=True)
    else:
        decompress(path)


def read_blocks(path: str) -> None:
    with DumpReader(path) as dump:
        for _ in dump.blocks():
            pass


def run_stage(path: str, folder: str, ref: FileRef, karma: str = "any") -> int:
    """The stage's one task: lines, fields, rules, canonical URLs, Parquet, manifest; returns the rows it wrote."""
    for remembered in (urls._origin, urls._plain_origin, urls._registrable, urls._is_tracking):
        remembered.cache_clear()  # hosts are new to a real run
    settings = LinksSettings.model_validate({"karma": karma})
    stage = SubmissionsStage(folder, settings, {"dumps": [ref]}, {"dumps": "x"}, partitions=8)
    (task,) = stage.plan()
    with TaskOutput(stage, task) as out:
        stage.run_task(task, out)
    manifest = stage.manifest_path(task)
    return TaskManifest.from_json(read_json(manifest), manifest).totals.rows_out


def measured(name: str, rows: Iterator[bytes], tmp_path: Path) -> Iterator[Row]:
    path = str(tmp_path / "RS_2018-05.zst")
    count, megabytes = write(rows, path)
    packed = Path(path).stat().st_size / 1e6
    ref = FileRef.of(path)
    functions: dict[str, Callable[[], object]] = {
        "blocks of lines": lambda: read_blocks(path),
        "submissions stage, karma any": lambda: run_stage(path, str(tmp_path / "any"), ref),
        "submissions stage, karma sum": lambda: run_stage(path, str(tmp_path / "sum"), ref, "sum"),
    }
    floor, zstd, *seconds = alternate(
        lambda: decompress(path), lambda: command_line(path), *functions.values(), clock=cpu_seconds, repeats=5
    )
    made = [0, run_stage(path, str(tmp_path / "any"), ref), run_stage(path, str(tmp_path / "sum"), ref, "sum")]
    peaks = [
        peak_mib(decompress, path),
        peak_mib(read_blocks, path),
        peak_mib(run_stage, path, str(tmp_path / "p"), ref),
        peak_mib(run_stage, path, str(tmp_path / "p"), ref, "sum"),
    ]
    for what, took, out, peak in zip(functions, seconds, made, peaks[1:], strict=True):
        kept = f", {out:,} kept" if out else ""
        yield Row(
            f"{what}: {name}",
            f"{megabytes / took:,.0f} MB/s, {count / took:,.0f} rows/s per core",
            f"zstd -d {megabytes / zstd:,.0f} MB/s, python-zstandard {megabytes / floor:,.0f}",
            f"{100 * zstd / took:.0f} %, {100 * floor / took:.0f} % of its throughput",
            f"{count:,} rows of {1e6 * megabytes / count:,.0f} B{kept}; {megabytes:,.0f} MB from {packed:,.0f} MB, "
            f"window 2^{WINDOW_LOG}; peak memory {peak:.0f} MiB, zstandard alone {peaks[0]:.0f} MiB",
        )


@pytest.mark.benchmark
@pytest.mark.timeout(1800)
def test_links_of_a_full_month(tmp_path: Path, table: list[Row]) -> None:
    table.extend(measured("rows as in a full month", full_month(), tmp_path))


@pytest.mark.benchmark
@pytest.mark.timeout(1800)
@pytest.mark.skipif("WEBTEXT_DATA_ROOT" not in os.environ, reason="WEBTEXT_DATA_ROOT is not set")
def test_links_of_real_rows(tmp_path: Path, table: list[Row]) -> None:
    table.extend(measured("real rows, top posts only", real_rows(), tmp_path))
