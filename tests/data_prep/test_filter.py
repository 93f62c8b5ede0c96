from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from front_chain import refs
from test_language import ENGLISH, TEXTS
from test_wikipedia import document

from data_prep.documents import DOCUMENT, read_rows
from data_prep.errors import UserError
from data_prep.filter import FilterSettings, FilterStage, verdict
from data_prep.runner import run_stage


def stage_for(tmp_path: Path, *files: Path) -> FilterStage:
    return FilterStage(str(tmp_path / "out"), FilterSettings(), {"documents": refs(*files)}, {})


def test_each_rule_removes_and_is_logged(tmp_path: Path) -> None:
    texts = {
        "https://en.wikipedia.org/wiki/A": ENGLISH * 5,
        "https://a.com/1": "Too short.",
        "https://a.com/2": TEXTS["ko"] * 9,
    }
    rows = [{**document(url), "id": str(i), "text": text} for i, (url, text) in enumerate(texts.items())]
    rows.append({**document("https://a.com/kept"), "id": "9", "text": ENGLISH * 5})
    path = tmp_path / "documents.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=DOCUMENT), path)
    lines: list[str] = []
    stage = stage_for(tmp_path, path)
    manifest = run_stage(stage, workers=1, say=lines.append)
    [kept] = read_rows(f"{stage.folder}/part-00000.parquet")
    assert (kept["id"], kept["language"], kept["text"]) == ("9", "en", ENGLISH * 5)
    assert manifest.totals.dropped == {"wikipedia": 1, "too-short": 1, "other-language": 1}
    assert (manifest.totals.rows_in, manifest.totals.rows_out) == (4, 1)
    removed = {row["id"]: row for row in read_rows(f"{stage.folder}/removed/00000.parquet")}
    assert [removed[i]["reason"] for i in "012"] == ["wikipedia", "too-short", "other-language"]
    assert (removed["1"]["score"], removed["2"]["detail"]) == (10, "ko")
    assert not any("WARNING" in line for line in lines)


def test_removing_everything_is_said_loudly(tmp_path: Path) -> None:
    path = tmp_path / "documents.parquet"
    pq.write_table(pa.Table.from_pylist([document("https://a.com/")], schema=DOCUMENT), path)
    lines: list[str] = []
    run_stage(stage_for(tmp_path, path), workers=1, say=lines.append)
    assert any("WARNING: filter kept 0.00 %" in line for line in lines)


def test_first_rule_decides() -> None:
    drop = verdict({**document("https://en.wikipedia.org/wiki/A"), "text": ""}, FilterSettings())
    assert drop is not None
    assert drop.reason == "wikipedia"


def test_damaged_input_is_named(tmp_path: Path) -> None:
    path = tmp_path / "documents.parquet"
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(UserError, match=r"documents\.parquet: cannot be read as Parquet"):
        run_stage(stage_for(tmp_path, path), workers=1, say=lambda _: None)
    assert not (tmp_path / "out" / "part-00000.parquet").exists()
