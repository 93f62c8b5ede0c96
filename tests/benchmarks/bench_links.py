"""Reading a dump of submissions against decompressing the same file."""

from __future__ import annotations

import random
from pathlib import Path

import orjson
import pytest
import zstandard
from measure import Row, alternate, peak_mib

from data_prep.dumps import DumpReader
from data_prep.manifest import FileRef
from data_prep.reddit import SubmissionsSettings, SubmissionsStage
from data_prep.stage import TaskOutput

LINES = 60_000
WINDOW_LOG = 31
"""As the published dumps."""


def make_dump(path: Path) -> int:
    """Submissions with as many fields as the dumps have; returns the decompressed bytes."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 10))) for _ in range(5000)]
    flags = ("hidden", "locked", "archived", "spoiler", "stickied", "pinned", "quarantine", "media_only", "can_gild")
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=WINDOW_LOG, enable_ldm=True)
    written = 0
    with (
        path.open("wb") as handle,
        zstandard.ZstdCompressor(compression_params=parameters).stream_writer(handle) as out,
    ):
        for number in range(LINES):
            is_self = draw.random() < 0.4
            host = f"{draw.choice(words)}.{draw.choice(('com', 'org', 'co.uk', 'net'))}"
            link = f"https://www.{host}/{draw.choice(words)}/{draw.choice(words)}-{number}?utm_source=x&id={number}"
            post = {
                "id": f"{number:x}",
                "name": f"t3_{number:x}",
                "title": " ".join(draw.choices(words, k=10)),
                "selftext": " ".join(draw.choices(words, k=60)) if is_self else "",
                "author": draw.choice(words),
                "author_fullname": f"t2_{draw.getrandbits(32):x}",
                "subreddit": draw.choice(words[:500]),
                "subreddit_id": f"t5_{draw.getrandbits(24):x}",
                "domain": f"self.{draw.choice(words[:500])}" if is_self else host,
                "url": link,
                "permalink": f"/r/x/comments/{number:x}/{draw.choice(words)}/",
                "thumbnail": f"https://thumbs.example/{draw.getrandbits(64):x}.jpg",
                "score": draw.randint(0, 400),
                "num_comments": draw.randint(0, 90),
                "created_utc": 1_400_000_000 + number,
                "is_self": is_self,
                "over_18": draw.random() < 0.05,
                "media": None,
                "preview": {"images": [{"source": {"url": link, "width": 640, "height": 480}}], "enabled": False},
                **{flag: draw.random() < 0.1 for flag in flags},
            }
            line = orjson.dumps(post) + b"\n"
            out.write(line)
            written += len(line)
    return written


def decompress(path: str) -> None:
    with Path(path).open("rb") as handle:
        reader = zstandard.ZstdDecompressor(max_window_size=2**WINDOW_LOG).stream_reader(handle)
        while reader.read(1 << 17):
            pass


def read_lines(path: str) -> None:
    with DumpReader(path) as dump:
        for _ in dump:
            pass


def run_stage(path: str, folder: str) -> None:
    """The stage's one task: lines, fields, rules, canonical URLs, Parquet, manifest."""
    stage = SubmissionsStage(folder, SubmissionsSettings(), {"dumps": [FileRef.of(path)]}, {"dumps": "x"}, partitions=8)
    (task,) = stage.plan()
    with TaskOutput(stage, task) as out:
        stage.run_task(task, out)


@pytest.mark.benchmark
def test_links(tmp_path: Path, table: list[Row]) -> None:
    path = str(tmp_path / "RS_2014-05.zst")
    megabytes = make_dump(Path(path)) / 1e6
    floor, lines, stage = alternate(
        lambda: decompress(path), lambda: read_lines(path), lambda: run_stage(path, str(tmp_path / "out"))
    )
    peaks = [peak_mib(decompress, path), peak_mib(read_lines, path), peak_mib(run_stage, path, str(tmp_path / "peak"))]
    notes = f"{LINES:,} submissions, {megabytes:.0f} MB, window 2^{WINDOW_LOG}"
    for name, seconds, peak in (("lines of a dump", lines, peaks[1]), ("submissions stage, 1 task", stage, peaks[2])):
        table.append(
            Row(
                name,
                f"{megabytes / seconds:,.0f} MB/s, {LINES / seconds:,.0f} lines/s",
                f"zstandard alone {megabytes / floor:,.0f} MB/s",
                f"{seconds / floor:.2f}x the time",
                f"{notes}; peak memory {peak:.0f} MiB, zstandard alone {peaks[0]:.0f} MiB",
            )
        )
