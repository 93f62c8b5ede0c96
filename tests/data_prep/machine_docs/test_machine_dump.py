from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from data_prep.machine_docs.dump import DUMP_FILE, DumpSettings, MachineDumpStage, base36, score, variant
from data_prep.manifest import FileRef
from data_prep.stage import TaskOutput

URLS = [f"https://pypi.org/project/p{i}/" for i in range(1000)]


def rows_of(path: Path) -> list[dict[str, object]]:
    reader = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    with path.open("rb") as handle, reader.stream_reader(handle) as stream:
        return [orjson.loads(line) for line in stream.read().splitlines()]


def make(folder: Path, index: Path, **settings: object) -> Path:
    stage = MachineDumpStage(str(folder), DumpSettings(**settings), {"index": [FileRef.of(str(index))]}, {"index": "x"})
    (task,) = stage.plan()
    with TaskOutput(stage, task) as out:
        stage.run_task(task, out)
    return folder / DUMP_FILE


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("index") / "part.jsonl"
    path.write_bytes(b"".join(orjson.dumps({"url": u, "title": f"about {u}"}) + b"\n" for u in URLS))
    return path


@pytest.fixture(scope="module")
def rows(index: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    return rows_of(make(tmp_path_factory.mktemp("dump"), index))


def test_rows_look_like_pushshift_and_say_that_they_are_made_up(rows: list[dict[str, object]]) -> None:
    assert len({row["id"] for row in rows}) == len(rows)
    assert [row["created_utc"] for row in rows] == sorted(row["created_utc"] for row in rows)  # type: ignore[type-var]
    for row in rows:
        assert str(row["subreddit"]).startswith("made_up")
        assert row["name"] == f"t3_{row['id']}"
        assert row["author"] == "[deleted]"
        assert str(row["id"]) in str(row["permalink"])
        assert row["domain"] in (urlsplit(str(row["url"])).netloc, f"self.{row['subreddit']}")


def test_about_a_third_has_a_score_below_three(rows: list[dict[str, object]]) -> None:
    below = sum(int(row["score"]) < 3 for row in rows)  # type: ignore[call-overload]
    assert 0.26 < below / len(rows) < 0.34


def test_there_is_something_to_clean(rows: list[dict[str, object]]) -> None:
    links = [str(row["url"]) for row in rows]
    assert sum(bool(row["is_self"]) for row in rows) > 100
    assert sum(url.startswith("https://i.imgur.com/") for url in links) > 50
    assert sum("/old/" in url for url in links) > 100
    for sign in ("http://", "www.pypi", "#contents", "?utm_source=made_up&utm", "&amp;"):
        assert sum(sign in url for url in links) > 20, sign
    per_page = Counter(
        (url.rpartition("/p")[2].partition("/")[0], row["subreddit"]) for url, row in zip(links, rows, strict=True)
    )
    repeated = Counter(page for page, _ in per_page if page.isdigit())
    assert max(repeated.values()) >= 3


def test_every_page_is_submitted(rows: list[dict[str, object]]) -> None:
    links = " ".join(str(row["url"]) for row in rows if "/old/" not in str(row["url"]))
    assert all(url.removeprefix("https://") in links for url in URLS)


@pytest.mark.parametrize("log", [20, 27])
def test_the_window_is_as_long_as_asked(index: Path, tmp_path: Path, log: int) -> None:
    path = make(tmp_path, index, window_log=log)
    assert zstandard.get_frame_parameters(path.read_bytes()).window_size == 1 << log


def test_the_same_input_gives_the_same_bytes(index: Path, tmp_path: Path) -> None:
    assert make(tmp_path / "a", index).read_bytes() == make(tmp_path / "b", index).read_bytes()


@given(st.integers(min_value=0, max_value=1 << 60))
def test_base36_is_the_inverse_of_int(number: int) -> None:
    assert int(base36(number), 36) == number


@given(st.text(), st.floats(min_value=0, max_value=1))
def test_scores_are_sane(key: str, below: float) -> None:
    assert 0 <= score(key, below) <= 50_000


@given(st.text())
def test_a_variant_still_names_the_page(key: str) -> None:
    url = "https://pypi.org/project/click/"
    assert "pypi.org/project/click/" in variant(url, key)


def test_a_window_beyond_the_format_is_refused() -> None:
    with pytest.raises(ValidationError):
        DumpSettings(window_log=32)
