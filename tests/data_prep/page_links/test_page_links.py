"""The three joins, each on a handful of rows; the stages as a whole are tested with `pages`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from front_chain import html, refs, write_warc

from data_prep.chain import raw_paths
from data_prep.errors import CorruptFile
from data_prep.page_links.addresses import ADDRESS, REDIRECT, redirect_target
from data_prep.page_links.matches import MATCH, links_of_task, match
from data_prep.page_links.redirects import PAGE_LINK, first_redirects, follow
from data_prep.urls import url_id
from data_prep.warc import Response, parse_http


def redirect(location: str, url: str = "http://a.com/x/y", status: int = 302) -> Response:
    return parse_http(url, f"HTTP/1.1 {status} Found\r\nLocation: {location}\r\n\r\n".encode(), 0, 0)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("http://b.com/?utm_source=x&b=1#c", "https://b.com/?b=1"),
        ("//b.com", "https://b.com/"),
        ("z", "https://a.com/x/z"),
        ("/ä b", "https://a.com/%C3%A4%20b"),
        ("https://www.a.com/x/y#top", None),
        ("mailto:x@y.z", None),
        ("http://[bad/", None),
        ("", None),
    ],
)
def test_where_a_redirect_leads(location: str, target: str | None) -> None:
    assert redirect_target(redirect(location)) == target


def test_only_redirects_lead_somewhere() -> None:
    assert redirect_target(redirect("/z", status=200)) is None
    assert redirect_target(redirect("/z", status=304)) is None


def redirects_file(path: Path, *rows: tuple[str, str, str]) -> str:
    table = pa.Table.from_pylist([dict(zip(REDIRECT.names, row, strict=True)) for row in rows], schema=REDIRECT)
    pq.write_table(table, path)
    return str(path)


def link(key: str, page: str, hops: int = 0) -> dict[str, Any]:
    row = {"id": key, "url": f"https://{key}/", "posted_url": "", "score": 3, "created_utc": 0, "submissions": 1}
    return {"page": page, "hops": hops, **row, "subreddit": None}


def links(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=PAGE_LINK)


def test_the_earliest_redirect_counts_whatever_file_it_is_in(tmp_path: Path) -> None:
    rows = [
        ("a", "2015", "https://late/"),
        ("b", "2015", "https://z/"),
        ("b", "2015", "https://y/"),
        ("a", "2012", "https://early/"),
    ]
    expected = {"a": url_id("https://early/"), "b": url_id("https://y/")}
    for number, order in enumerate((rows, rows[::-1])):
        paths = [redirects_file(tmp_path / f"{number}-{i}", *order[i::2]) for i in range(2)]
        found = first_redirects(paths)
        assert dict(zip(found["page"].to_pylist(), found["target_page"].to_pylist(), strict=True)) == expected
    assert first_redirects([]).num_rows == 0


def test_follow_moves_links_one_redirect_on() -> None:
    step = pa.table({"page": ["a", "m"], "target_page": ["b", "a"]})
    moved = follow(links(link("a", "a"), link("c", "c"), link("x", "a", 2), link("a", "m", 1)), step)
    # A link that comes back to its own address is gone.
    assert [(row["id"], row["page"], row["hops"]) for row in moved.to_pylist()] == [("a", "b", 1), ("x", "b", 3)]
    assert moved.schema.equals(PAGE_LINK)


def test_matches_hold_each_task_page_and_link_once() -> None:
    addresses = pa.Table.from_pylist(
        [{"page": page, "task": task} for page, task in [("p", 2), ("q", 0), ("p", 2), ("p", 1), ("other", 0)]], ADDRESS
    )
    found = match(addresses, links(link("p", "p"), link("a", "p", 3), link("a", "p", 1), link("none", "none")))
    assert [(row["task"], row["page"], row["id"], row["hops"]) for row in found.to_pylist()] == [
        (1, "p", "a", 1),
        (1, "p", "p", 0),
        (2, "p", "a", 1),
        (2, "p", "p", 0),
    ]
    assert match(addresses.slice(0, 0), links()).num_rows == 0


def test_a_task_reads_its_own_links(tmp_path: Path) -> None:
    rows = [{"task": task, **link(f"l{task}{i}", f"p{i % 2}")} for task in range(40) for i in range(3)]
    for number in range(2):
        table = pa.Table.from_pylist(rows[number::2], schema=MATCH)
        pq.write_table(table, tmp_path / f"{number}.parquet", row_group_size=7)
    pq.write_table(MATCH.empty_table(), tmp_path / "empty.parquet")
    files = refs(*sorted(tmp_path.glob("*.parquet")))
    for task in (0, 17, 39):
        found = links_of_task(files, task)
        assert {key: sorted(row["id"] for row in some) for key, some in found.items()} == {
            "p0": [f"l{task}0", f"l{task}2"],
            "p1": [f"l{task}1"],
        }
    assert links_of_task(files, 40) == {}
    (tmp_path / "1.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(CorruptFile, match=r"1\.parquet: cannot be read"):
        links_of_task(files, 0)


def test_a_folder_stands_for_the_archives_below_it(tmp_path: Path) -> None:
    wanted = [
        write_warc(tmp_path / name, [("http://a.com/", html(1))]) for name in ("a.warc.gz", "deep/er/b.warc.wet.gz")
    ]
    for name in ("c.arc", "c.arc.gz", "c.warc", "c.warc.zst"):
        wanted.append(tmp_path / "deep" / name)
        wanted[-1].write_bytes(b"x")
    for name in ("README.txt", "deep/index.cdxj.gz", "d.warc.gz.tmp"):
        (tmp_path / name).write_bytes(b"x")
    assert sorted(raw_paths("inputs.archives", [str(tmp_path)])) == sorted(map(str, wanted))
    # A pattern or a file is taken at its word.
    assert raw_paths("inputs.archives", [str(tmp_path / "*.txt")]) == [str(tmp_path / "README.txt")]
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path), "/folder", recursive=True)
    found = raw_paths("inputs.archives", ["memory://folder"])
    assert sorted(found) == sorted(f"memory://folder/{path.relative_to(tmp_path)}" for path in wanted)
    memory.rm("/folder", recursive=True)
