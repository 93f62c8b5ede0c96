from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from front_chain import PARTITIONS, post, refs, write_dump

from data_prep import dumps, submissions
from data_prep.errors import UserError
from data_prep.links import LinksSettings
from data_prep.manifest import StageManifest
from data_prep.reddit import SUBMISSION
from data_prep.runner import run_stage
from data_prep.stage import TaskOutput
from data_prep.submissions import SubmissionsStage, row_settings
from data_prep.urls import partition_of


def run(tmp_path: Path, *dumps: Path, **settings: Any) -> tuple[SubmissionsStage, StageManifest]:
    chosen = LinksSettings(**settings)
    stage = SubmissionsStage(str(tmp_path / "out"), chosen, {"dumps": refs(*dumps)}, {}, partitions=PARTITIONS)
    return stage, run_stage(stage, workers=1, say=lambda _: None, executor="inline")


def test_partitions_and_counts(tmp_path: Path) -> None:
    rows = [post(f"http://site{i}.com/{i}", i) for i in range(50)]
    others = [post("http://x.com", None), b"{oops", b"", post(None, is_self=True), post("http://reddit.com/r/x")]
    dump = write_dump(tmp_path / "RS_1.zst", [*rows, *others])
    stage, manifest = run(tmp_path, dump)
    assert manifest.totals.rows_in == 54
    assert manifest.totals.rows_out == 47
    assert manifest.totals.dropped == {
        "low-karma": 3,
        "no-score": 1,
        "not-json": 1,
        "self-post": 1,
        "link-to-reddit": 1,
    }
    found = []
    for p in range(PARTITIONS):
        table = pq.read_table(f"{stage.folder}/{p:05d}-00000.parquet")
        assert table.schema.equals(SUBMISSION)
        assert all(partition_of(i, PARTITIONS) == p for i in table["id"].to_pylist())
        found += table["posted_url"].to_pylist()
    assert sorted(found) == sorted(row["url"] for row in rows[3:])


def test_summed_karma_needs_every_submission(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "RS.zst", [post("http://a.com", score) for score in (-4, 0, 9)])
    assert run(tmp_path, dump, karma="sum")[1].totals.rows_out == 3
    assert run(tmp_path, dump, karma="max")[1].totals.rows_out == 1


def test_only_karma_rules_that_matter_here_change_the_plan(tmp_path: Path) -> None:
    dump = refs(write_dump(tmp_path / "RS.zst", [post("http://a.com")]))

    def plan(**settings: Any) -> str:
        stage = SubmissionsStage(str(tmp_path), LinksSettings(**settings), {"dumps": dump}, {}, partitions=2)
        return stage.plan_entry(stage.plan()[0])

    assert plan(karma="any") == plan(karma="max")
    assert plan(karma="any") != plan(karma="sum")
    assert plan(karma="sum", min_karma=3) == plan(karma="sum", min_karma=5)
    assert plan(karma="any", min_karma=3) != plan(karma="any", min_karma=5)


def test_the_plan_covers_what_a_list_says(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    dump = refs(write_dump(tmp_path / "RS.zst", [post("http://a.com")]))
    plans = []
    for text in ("a.com\n", "a.com # same\n\n", "b.com\n"):
        names.write_text(text)
        chosen = LinksSettings(exclude_domains=(str(names),))
        stage = SubmissionsStage(str(tmp_path), chosen, {"dumps": dump}, {}, partitions=2)
        plans.append(stage.plan_entry(stage.plan()[0]))
    assert (plans[0] == plans[1], plans[0] == plans[2]) == (True, False)
    assert row_settings(LinksSettings(exclude_domains=(str(names), "www.C.com"))).exclude_domains == ("b.com", "c.com")


def rows_of(stage: SubmissionsStage, manifest: StageManifest) -> list[dict[str, Any]]:
    """All rows, in the order of their partitions and of the dump."""
    refs = manifest.files(stage.folder, "0")
    tables = [pq.read_table(ref.path) for ref in sorted(refs, key=lambda ref: ref.path)]
    found: list[dict[str, Any]] = pa.concat_tables(tables).to_pylist()
    return found


def test_same_rows_however_the_dump_is_cut_or_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [post(f"http://site{i % 40}.com/{i}", i % 9, id=f"{i:x}", is_self=i % 5 == 0) for i in range(3000)]
    text = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    whole = write_dump(tmp_path / "RS_2012.zst", rows)
    expected = rows_of(*run(tmp_path, whole))
    frames = tmp_path / "frames" / "RS_2012.zst"
    frames.parent.mkdir()
    size = len(text) // 7
    cuts = [text[i : i + size] for i in range(0, len(text), size)]
    frames.write_bytes(b"".join(zstandard.ZstdCompressor().compress(cut) for cut in cuts))
    plain = tmp_path / "RS_2012"
    plain.write_bytes(text)
    for path, tasks in ((plain, 7), (frames, 2)):
        stage, manifest = run(tmp_path, path, task_bytes=path.stat().st_size // tasks)
        assert len(stage.plan()) > 1
        assert rows_of(stage, manifest) == expected
    monkeypatch.setattr(submissions, "_ROWS_HELD", 100)
    monkeypatch.setattr(submissions, "_ROWS_HELD_PER_PARTITION", 1)
    monkeypatch.setattr(submissions, "_ROWS_PACKED", 40)
    assert rows_of(*run(tmp_path, plain)) == expected


def test_same_bytes_however_much_is_read_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dump = write_dump(tmp_path / "RS.zst", [post(f"http://site{i}.com/{i}", id=f"{i:x}") for i in range(3000)])
    monkeypatch.setattr(submissions, "_ROWS_HELD", 300)
    monkeypatch.setattr(submissions, "_ROWS_PACKED", 100)
    found = []
    for block in (1 << 20, 5000, 777):
        monkeypatch.setattr(dumps, "_BLOCK", block)
        stage, _ = run(tmp_path, dump)
        task = stage.plan()[0]
        with TaskOutput(stage, task) as out:
            stage.run_task(task, out)
        found.append([path.read_bytes() for path in sorted((tmp_path / "out").glob("0*.parquet"))])
    assert found[0] == found[1] == found[2]


def test_no_line_is_a_submission(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "RS.zst", [b"this is", b"no dump"])
    with pytest.raises(UserError, match="none of its 2 lines is JSON") as error:
        run(tmp_path, dump)
    assert str(dump) in str(error.value)
    assert not list((tmp_path / "out").glob("*.parquet*"))


def test_no_line_at_all(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no line at all"):
        run(tmp_path, write_dump(tmp_path / "RS.zst", []))


def test_a_line_longer_than_a_range(tmp_path: Path) -> None:
    """Ranges in the middle of the line have no line, which is no error."""
    plain = tmp_path / "RS"
    plain.write_bytes(b"".join(json.dumps(post("http://a.com/", title="x" * 5000)).encode() + b"\n" for _ in range(2)))
    stage, manifest = run(tmp_path, plain, task_bytes=1000)
    assert (len(stage.plan()), manifest.totals.rows_out) == (11, 2)


def test_cut_dump_stops_its_task_only(tmp_path: Path) -> None:
    good = write_dump(tmp_path / "RS_1.zst", [post("http://a.com")])
    bad = write_dump(tmp_path / "RS_2.zst", [post(f"http://b.com/{i}") for i in range(99)])
    bad.write_bytes(bad.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"RS_2.zst, byte .*cut short"):
        run(tmp_path, good, bad)
    names = {path.name for path in (tmp_path / "out").glob("*.parquet*")}
    assert names == {f"{p:05d}-00000.parquet" for p in range(PARTITIONS)}
