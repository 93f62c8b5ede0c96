from __future__ import annotations

from collections import Counter
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_corpus import complete
from some_texts import ENGLISH, TEXTS, document

from data_prep.documents import DOCUMENT, Document, read_rows
from data_prep.errors import UserError
from data_prep.filter import FilterSettings, FilterStage, rules, verdict
from data_prep.manifest import FileRef, StageManifest
from data_prep.runner import run_stage
from data_prep.wikipedia_sample import WikipediaSampleSettings, WikipediaSampleStage

USUAL = FilterSettings.model_validate({"wikipedia": {}, "length": {}, "language": {}})
EVERY = FilterSettings.model_validate({rule: {} for rule in FilterSettings.model_fields})
PROSE = (
    "The river runs past the old town, and most of its people have seen it rise.\n"
    "Nobody who lives near the bridge will ever forget that long and cold winter.\n"
    "It took the doors with it, then two of the boats, and at last the mill.\n"
    "What remained of the harbour was built up again by the children of those days.\n"
)


def refs(*paths: Path) -> list[FileRef]:
    return [FileRef.of(str(path)) for path in paths]


def stage_for(tmp_path: Path, *files: Path, settings: FilterSettings = USUAL) -> FilterStage:
    return FilterStage(str(tmp_path / "out"), settings, {"documents": refs(*files)}, {})


def write(path: Path, *rows: Document) -> Path:
    numbered = [{**row, "id": str(i)} for i, row in enumerate(rows)]
    pq.write_table(pa.Table.from_pylist(numbered, schema=DOCUMENT), path)
    return path


def test_each_rule_removes_and_is_logged(tmp_path: Path) -> None:
    path = write(
        tmp_path / "documents.parquet",
        document(ENGLISH * 5, "https://en.wikipedia.org/wiki/A"),
        document("Too short."),
        document(TEXTS["ko"] * 9),
        document(ENGLISH * 5, "https://a.com/kept"),
    )
    lines: list[str] = []
    stage = stage_for(tmp_path, path)
    manifest = run_stage(stage, workers=1, say=lines.append, executor="inline")
    [kept] = read_rows(f"{stage.folder}/part-00000.parquet")
    assert (kept["id"], kept["language"], kept["text"]) == ("3", "en", ENGLISH * 5)
    assert manifest.totals.dropped == {"wikipedia": 1, "too-short": 1, "other-language": 1}
    assert (manifest.totals.rows_in, manifest.totals.rows_out) == (4, 1)
    removed = {row["id"]: row for row in read_rows(f"{stage.folder}/removed/00000.parquet")}
    assert [removed[i]["reason"] for i in "012"] == ["wikipedia", "too-short", "other-language"]
    assert (removed["1"]["score"], removed["2"]["detail"]) == (10, "ko")
    assert not any("WARNING" in line for line in lines)


def test_removing_everything_is_said_loudly(tmp_path: Path) -> None:
    path = write(tmp_path / "documents.parquet", document())
    lines: list[str] = []
    run_stage(stage_for(tmp_path, path), workers=1, say=lines.append, executor="inline")
    assert any("WARNING: filter kept 0.00 %" in line for line in lines)


def test_no_rule_is_on_unless_named() -> None:
    assert rules(FilterSettings()) == []


@pytest.mark.parametrize(
    ("text", "url", "reason"),
    [
        ("", "https://en.wikipedia.org/wiki/A", "wikipedia"),
        ("x", "https://a.com/", "too-short"),
        (TEXTS["de"] * 9, "https://a.com/", "other-language"),
        (PROSE + "# " * 20, "https://a.com/", "gopher-hash-signs"),
        (PROSE * 2, "https://a.com/", "gopher-duplicate-lines"),
        (PROSE + "void f() {", "https://a.com/", "c4-curly-bracket"),
        (PROSE, "https://a.com/", None),
    ],
)
def test_the_first_rule_that_objects_decides(text: str, url: str, reason: str | None) -> None:
    drop = verdict(document(text, url), rules(EVERY.expanded()), Counter())
    assert (drop.reason if drop else None) == reason


def test_texts_are_changed_and_counted(tmp_path: Path) -> None:
    path = write(
        tmp_path / "documents.parquet",
        document(PROSE + "Home | About\nYou can write to joe@mail.org if you wish.\n", metadata='{"title": "T"}'),
        document("Call joe@mail.org. " + TEXTS["de"] * 9),
    )
    stage = stage_for(tmp_path, path, settings=EVERY)
    manifest = complete(stage)
    [kept] = read_rows(f"{stage.folder}/part-00000.parquet")
    assert kept["text"] == PROSE + "You can write to email@example.com if you wish."
    assert orjson.loads(kept["metadata"]) == {"title": "T", "pii": {"email": 1}}
    # What was changed in a document that is removed does not count.
    assert manifest.totals.extra == {"c4-lines-without-end-mark": 1, "pii-email": 1}


def test_what_c4_shortens_must_still_be_long_enough() -> None:
    settings = FilterSettings.model_validate({"length": {"min_chars": 300}, "c4": {}})
    drop = verdict(document(PROSE + "Menu\n" * 50), rules(settings.expanded()), Counter())
    assert drop is None
    short = PROSE[: PROSE.index("What")]
    drop = verdict(document(short + "Menu\n" * 50), rules(settings.expanded()), Counter())
    assert drop is not None
    assert (drop.reason, drop.score) == ("too-short", len(short) - 1)


def test_copies_of_wikipedia_go_if_a_sample_is_given(tmp_path: Path) -> None:
    wiki = write(tmp_path / "wiki.parquet", document(PROSE * 1))
    sample = WikipediaSampleStage(
        str(tmp_path / "sample"), WikipediaSampleSettings(ngram=8), {"wikipedia": refs(wiki)}, {"wikipedia": "x"}
    )
    complete(sample)
    path = write(tmp_path / "documents.parquet", document(PROSE), document(ENGLISH * 5))
    inputs = {"documents": refs(path), "wikipedia": refs(tmp_path / "sample" / "ngrams.bin")}
    manifest = complete(FilterStage(str(tmp_path / "out"), USUAL, inputs, {}))
    assert manifest.totals.dropped == {"wikipedia-overlap": 1}
    without = FilterStage(str(tmp_path / "none"), USUAL, {"documents": refs(path), "wikipedia": []}, {})
    assert complete(without).totals.dropped == {}
    assert plan_digest(without) != plan_digest(FilterStage(str(tmp_path / "out"), USUAL, inputs, {}))


def plan_digest(stage: FilterStage) -> str:
    return stage.plan_entry(stage.plan()[0])


def test_a_changed_list_is_a_changed_plan(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked.txt"
    settings = FilterSettings.model_validate({"blocklist": {"domains": [str(blocked)]}})
    path = write(tmp_path / "documents.parquet", document(url="https://a.com/"), document(url="https://b.com/"))

    def run() -> tuple[str, StageManifest]:
        stage = stage_for(tmp_path, path, settings=settings)
        return plan_digest(stage), run_stage(stage, workers=1, say=lambda _: None, executor="inline")

    blocked.write_text("a.com\n")
    first, manifest = run()
    assert manifest.totals.dropped == {"blocked-domain": 1}
    assert manifest.settings["blocklist"]["domains"] == ["a.com"]
    blocked.write_text("# the same\nA.com\n")
    assert run()[0] == first
    blocked.write_text("b.com\na.com\n")
    second, manifest = run()
    assert second != first
    assert manifest.totals.dropped == {"blocked-domain": 2}


def test_damaged_input_is_named(tmp_path: Path) -> None:
    path = tmp_path / "documents.parquet"
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(UserError, match=r"documents\.parquet: cannot be read as Parquet"):
        run_stage(stage_for(tmp_path, path), workers=1, say=lambda _: None, executor="inline")
    assert not (tmp_path / "out" / "part-00000.parquet").exists()
