from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from front_chain import links_manifest, post, write_dump
from hypothesis import given
from hypothesis import strategies as st

from data_prep.documents import read_rows
from data_prep.links import LINK, LinksSettings, LinksStage, choose_links
from data_prep.manifest import StageManifest
from data_prep.reddit import SUBMISSION
from data_prep.urls import canonical_url, url_id


def submission(url: int, score: int, created: int = 0, name: str = "", subreddit: str | None = "r") -> dict[str, Any]:
    return {
        "id": f"{url:032x}",
        "url": f"https://{url}.com/",
        "posted_url": f"http://{url}.com",
        "score": score,
        "created_utc": created,
        "subreddit": subreddit,
        "submission": name,
    }


def table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=SUBMISSION)


@pytest.mark.parametrize(("karma", "score"), [("any", 4), ("max", 9), ("sum", 13)])
def test_score_by_rule(karma: Any, score: int) -> None:
    rows = [submission(1, 9, 30, "c"), submission(1, 4, 20, "b", "first")]
    links, poor = choose_links(table(rows), karma, 3)
    [link] = links.to_pylist()
    assert (link["score"], link["created_utc"], link["subreddit"], link["submissions"]) == (score, 20, "first", 2)
    assert poor.num_rows == 0


def test_summed_score_below_the_least() -> None:
    rows = table([submission(1, 4, 20), submission(1, -2, 10, "a"), submission(2, 3)])
    links, poor = choose_links(rows, "sum", 3)
    assert [(row["url"], row["score"]) for row in links.to_pylist()] == [("https://2.com/", 3)]
    assert [(row["url"], row["score"]) for row in poor.to_pylist()] == [("https://1.com/", 2)]


def test_sum_reaches_what_no_submission_has_alone() -> None:
    rows = table([submission(1, 2, 1), submission(1, 1, 2)])
    assert choose_links(rows, "sum", 3)[0].num_rows == 1


def test_no_submissions() -> None:
    links, poor = choose_links(SUBMISSION.empty_table(), "any", 3)
    assert links.schema.equals(LINK)
    assert (links.num_rows, poor.num_rows) == (0, 0)


drawn = st.lists(
    st.builds(
        submission,
        st.integers(0, 5),
        st.integers(-2, 6),
        st.integers(0, 3),
        st.sampled_from("ab"),
        st.none() | st.sampled_from("xy"),
    ),
    max_size=30,
)


@given(drawn, st.sampled_from(["any", "sum", "max"]), st.randoms())
def test_agrees_with_the_plain_definition_in_any_order(rows: list[dict[str, Any]], karma: Any, random: Any) -> None:
    if karma != "sum":
        rows = [row for row in rows if row["score"] >= 3]
    links, poor = choose_links(table(rows), karma, 3)
    shuffled = random.sample(rows, len(rows))
    assert choose_links(table(shuffled), karma, 3)[0].equals(links)
    expected = {}
    for id in {row["id"] for row in rows}:
        scores = [row["score"] for row in rows if row["id"] == id]
        total = sum(scores) if karma == "sum" else max(scores)
        if total >= 3:
            expected[id] = (min(r["created_utc"] for r in rows if r["id"] == id), len(scores), total)
    found = links.to_pylist()
    assert [row["id"] for row in found] == sorted(expected)
    assert poor.num_rows == len({row["id"] for row in rows}) - len(expected)
    for row in found:
        created, count, total = expected[row["id"]]
        assert (row["created_utc"], row["submissions"]) == (created, count)
        assert row["score"] == total or (karma == "any" and 3 <= row["score"] <= total)


SPELLINGS = ["http://a.com/p", "https://www.a.com/p#x", "http://a.com/p?utm_source=r&amp;utm_medium=s"]


def test_stages_join_the_spellings_of_a_url(tmp_path: Path) -> None:
    first = write_dump(tmp_path / "RS_1.zst", [post(u, 3, id=str(i)) for i, u in enumerate(SPELLINGS[:2])])
    second = write_dump(
        tmp_path / "RS_2.zst", [post(SPELLINGS[2], 4, id="9"), post(SPELLINGS[0], 2), post("http://poor.com/", 2)]
    )
    stage, manifest = links_manifest(tmp_path, [first, second])
    rows = [row for ref in manifest.files(stage.folder, "part-") for row in read_rows(ref.path)]
    assert [(row["url"], row["score"], row["submissions"]) for row in rows] == [("https://a.com/p", 3, 3)]
    assert (manifest.totals.rows_in, manifest.totals.rows_out) == (3, 1)
    assert manifest.totals.dropped == {"repeated-submission": 2}
    made = StageManifest.load(str(tmp_path / "submissions"))
    assert made.totals.dropped == {"low-karma": 2}


def test_under_sum_a_poor_url_is_in_the_removal_log(tmp_path: Path) -> None:
    rows = [post(u, 1, id=str(i)) for i, u in enumerate(SPELLINGS)]
    dump = write_dump(tmp_path / "RS_1.zst", [*rows, post("http://poor.com/", 4), post("http://poor.com", -2)])
    stage, manifest = links_manifest(tmp_path, [dump], LinksSettings(karma="sum"))
    found = [row for ref in manifest.files(stage.folder, "part-") for row in read_rows(ref.path)]
    assert [(row["url"], row["score"], row["submissions"]) for row in found] == [("https://a.com/p", 3, 3)]
    assert manifest.totals.dropped == {"low-karma": 1, "repeated-submission": 3}
    removed = [row for ref in manifest.files(stage.folder, "removed/") for row in read_rows(ref.path)]
    assert [(r["url"], r["reason"], r["score"], r["stage"]) for r in removed] == [
        ("https://poor.com/", "low-karma", 2.0, "links")
    ]


def test_row_rules_do_not_change_the_plan_of_this_stage(tmp_path: Path) -> None:
    entries = set()
    for settings in (LinksSettings(), LinksSettings(over_18=False), LinksSettings(min_karma=4)):
        stage = LinksStage(str(tmp_path), settings, {"submissions": []}, {}, partitions=1)
        entries.add(stage.plan_entry(stage.plan()[0]))
    assert len(entries) == 2


def test_files_are_sorted_as_a_whole(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "RS_1.zst", [post(f"http://a.com/{i}") for i in range(200)])
    stage, manifest = links_manifest(tmp_path, [dump])
    ids = [i for ref in manifest.files(stage.folder, "part-") for i in pq.read_table(ref.path)["id"].to_pylist()]
    assert len(ids) == 200
    assert ids == sorted(ids)


@pytest.mark.skipif("WEBTEXT_DATA_ROOT" not in os.environ, reason="WEBTEXT_DATA_ROOT is not set")
@pytest.mark.parametrize("karma", ["any", "sum"])
def test_real_sample_finds_exactly_the_expected_pages(tmp_path: Path, karma: Any) -> None:
    root = Path(os.environ["WEBTEXT_DATA_ROOT"]) / "e2e"
    if not root.is_dir():
        pytest.skip(f"{root} is not there")
    stage, manifest = links_manifest(tmp_path, [root / "RS_e2e.zst"], LinksSettings(karma=karma), workers=2)
    links = {row["id"] for ref in manifest.files(stage.folder, "part-") for row in read_rows(ref.path)}
    pages = [json.loads(line) for line in (root / "pages_manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    score = "sum_score" if karma == "sum" else "max_score"
    expected = {page["url"] for page in pages if (page[score] or 0) >= 3}
    found = {page["url"] for page in pages if any(url_id(canonical_url(u) or "") in links for u in page["uris"])}
    assert found == expected
