from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st
from small_corpus import complete, document, write_documents

from data_prep.dedup import exact
from data_prep.documents import read_rows
from data_prep.manifest import FileRef, StageManifest


def run(folder: Path, refs: list[FileRef], partitions: int = 3, reverse: bool = False) -> StageManifest:
    """The four stages; the result lies in folder/exact-dedup."""
    settings = exact.PartitionSettings(partitions=partitions)

    def outputs(name: str, prefix: str = "") -> list[FileRef]:
        files = manifests[name].files(str(folder / name), prefix)
        return [ref for ref in files if "/removed/" not in ref.path]

    manifests: dict[str, StageManifest] = {}
    for stage, inputs in (
        (exact.ExactKeysStage, lambda: {"documents": refs}),
        (exact.ExactUrlsStage, lambda: {"keys": outputs("exact-keys")}),
        (exact.ExactDuplicatesStage, lambda: {"keys": outputs("exact-urls", "keys/")}),
        (
            exact.ExactDedupStage,
            lambda: {
                "documents": refs,
                exact.SAME_URL: outputs("exact-urls", "lost/"),
                exact.SAME_TEXT: outputs("exact-duplicates", "part-"),
            },
        ),
    ):
        made = stage(str(folder / stage.name), settings, inputs(), {})
        manifests[stage.name] = complete(made, reverse=reverse)
    return manifests["exact-dedup"]


def kept(folder: Path) -> list[Any]:
    return [row for path in sorted((folder / "exact-dedup").glob("part-*")) for row in read_rows(str(path))]


def removed(folder: Path) -> list[dict[str, Any]]:
    files = sorted((folder / "exact-dedup" / "removed").glob("*"))
    return [row for path in files for row in pq.read_table(path).to_pylist()]


@settings(deadline=None)
@given(st.text(), st.sampled_from(["  ", "\n", "\t\u00a0", "\u3000"]))
def test_the_key_ignores_white_space_only(text: str, gap: str) -> None:
    assert exact.text_key(text) == exact.text_key(gap.join(["", *text.split(), ""]))
    assert exact.text_key(text + "x") != exact.text_key(text)
    assert exact.text_key("a b") != exact.text_key("ab")
    assert exact.text_key("A") != exact.text_key("a")


def test_one_of_each_text_stays_and_the_log_names_it(tmp_path: Path) -> None:
    refs = write_documents(
        tmp_path / "in",
        [document(1, "same  text", score=3), document(2, "other", score=9)],
        [document(3, "same text", score=7), document(4, "same text\n", score=7, created=5)],
    )
    manifest = run(tmp_path, refs)
    assert [int(row["id"], 16) for row in kept(tmp_path)] == [2, 3]
    assert manifest.totals.dropped == {"same-text": 2}
    assert {(int(row["id"], 16), row["reason"], row["detail"]) for row in removed(tmp_path)} == {
        (number, "same-text", f"kept {3:032x} https://example.org/3") for number in (1, 4)
    }


def test_two_captures_of_a_url_leave_one_and_do_not_take_another_url_with_them(tmp_path: Path) -> None:
    """The lost capture of page 1 has the text of page 2, which must stay."""
    refs = write_documents(
        tmp_path / "in",
        [document(1, "new text", score=5), document(1, "old text", score=4), document(2, "old text")],
    )
    manifest = run(tmp_path, refs)
    assert [(int(row["id"], 16), row["text"]) for row in kept(tmp_path)] == [(1, "new text"), (2, "old text")]
    assert manifest.totals.dropped == {"same-url": 1}


def test_what_stays_depends_neither_on_files_nor_partitions_nor_task_order(tmp_path: Path) -> None:
    rows = [document(i % 40, f"text {i % 13}", score=i % 3, created=i % 2) for i in range(80)]
    run(tmp_path / "a", write_documents(tmp_path / "in", rows), partitions=1)
    run(tmp_path / "b", write_documents(tmp_path / "in2", rows[50:], rows[:50]), partitions=5, reverse=True)

    def facts(folder: Path) -> list[tuple[str, str, int]]:
        return sorted((row["id"], row["text"], row["score"]) for row in kept(folder))

    assert facts(tmp_path / "a") == facts(tmp_path / "b")
    assert 0 < len(facts(tmp_path / "a")) <= 13


def test_nothing_in_gives_nothing_out(tmp_path: Path) -> None:
    assert run(tmp_path, write_documents(tmp_path / "in", [])).totals.rows_out == 0
