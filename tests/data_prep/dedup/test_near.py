from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from near_dedup import corpus as make_corpus
from near_dedup import edited, kept, removed, run
from small_corpus import document, words, write_documents

from data_prep.dedup import near, numbers
from data_prep.dedup import verify as verification
from data_prep.dedup.jaccard import jaccard
from data_prep.errors import UserError


@pytest.fixture(scope="module")
def corpus() -> list[dict[str, Any]]:
    return make_corpus()


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.parquet"))
    }


def test_close_copies_go_and_nothing_else(tmp_path: Path, corpus: list[dict[str, Any]]) -> None:
    """At Jaccard > 0.88 a pair is found with p > 0.996, at < 0.35 with p < 0.004."""
    manifests = run(tmp_path, write_documents(tmp_path / "in", corpus[:150], corpus[150:]))
    left = set(kept(tmp_path))
    recall = sum(i not in left for i in range(100, 200)) / 100
    wrong = [i for i in range(400) if i not in left and not 100 <= i < 200]
    assert recall >= 0.97
    assert len(wrong) <= 2
    assert manifests["near-dedup"].totals.dropped == {"near-duplicate": 400 - len(left)}


def test_the_log_names_the_twin_that_stays(tmp_path: Path, corpus: list[dict[str, Any]]) -> None:
    run(tmp_path, write_documents(tmp_path / "in", corpus[:200]))
    rows, left = removed(tmp_path), set(kept(tmp_path))
    assert rows
    for row in rows:
        number = int(row["id"], 16)
        assert (row["reason"], row["score"]) == ("near-duplicate", None)
        assert row["detail"] == f"kept {number - 100:032x} https://example.org/{number - 100}"
        assert number - 100 in left


def test_with_verification_exactly_the_pairs_over_the_threshold_go(
    tmp_path: Path, corpus: list[dict[str, Any]]
) -> None:
    """10 x 1 makes nearly every pair at 0.3 a candidate, so that what goes is decided by the comparison alone."""
    refs = write_documents(tmp_path / "in", corpus[:150], corpus[150:])
    manifests = run(tmp_path, refs, bands=10, rows=1, verify=True, threshold=0.8)
    assert [i for i in range(400) if i not in set(kept(tmp_path))] == list(range(100, 200))
    assert manifests["near-verify"].totals.rows_in > 180  # close and most distant copies
    for row in removed(tmp_path):
        number = int(row["id"], 16)
        assert row["score"] == jaccard(corpus[number]["text"], corpus[number - 100]["text"], 5)
    run(tmp_path / "all", refs, bands=20, rows=1, verify=True, threshold=0.15)
    assert kept(tmp_path / "all") == [*range(100), *range(300, 400)]


def test_the_files_of_a_verified_corpus_may_be_read_in_any_pieces(
    tmp_path: Path, corpus: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    refs = write_documents(tmp_path / "in", corpus[:70], corpus[70:130], corpus[130:])
    settings = {"bands": 10, "rows": 1, "verify": True, "threshold": 0.1}
    run(tmp_path / "a", refs, **settings)
    monkeypatch.setattr(verification, "_TASK_PAIRS", 1)
    monkeypatch.setattr(verification, "_SET_BYTES", 10_000)
    monkeypatch.setattr(near, "_SLICE_KEYS", 100)
    monkeypatch.setattr(near, "_CHUNK_PAIRS", 10)
    run(tmp_path / "b", refs, reverse=True, **settings)
    assert len(list((tmp_path / "b" / "near-verify").glob("part-*"))) == 3
    assert removed(tmp_path / "a") == removed(tmp_path / "b")
    assert len(removed(tmp_path / "a")) > 150


def test_a_large_bucket_is_capped_counted_and_said(tmp_path: Path) -> None:
    rng = random.Random(5)
    rows = [document(i, f"one two three four five {words(rng, 30 + i)}") for i in range(40)]
    settings = {"bands": 200, "rows": 1, "verify": True}
    refs = write_documents(tmp_path / "in", rows)
    capped = run(tmp_path / "a", refs, pairs_per_document=2, **settings)["near-edges"]
    assert capped.summary["pairs_left_out"] > 0
    assert "raise near_dedup.pairs_per_document" in capped.summary["warning"]
    assert capped.totals.rows_out < run(tmp_path / "b", refs, **settings)["near-edges"].totals.rows_out
    assert run(tmp_path / "b", refs, **settings)["near-edges"].summary == {}


def test_what_is_in_another_corpus_goes_and_that_corpus_stays_whole(
    tmp_path: Path, corpus: list[dict[str, Any]]
) -> None:
    """Of the originals 0..49 a close copy is in the other corpus, which also holds near-duplicates of its own."""
    here = write_documents(tmp_path / "here", corpus[:30] + corpus[300:330], corpus[30:60] + corpus[100:110])
    there = write_documents(tmp_path / "there", corpus[100:150], corpus[:5])
    for name, settings in {"plain": {}, "verified": {"verify": True}, "stars": {"star_rounds": 3}}.items():
        manifests = run(tmp_path / name, here, there, **settings)
        rows = removed(tmp_path / name)
        assert manifests["near-dedup"].totals.dropped == {near.IN_OTHER_CORPUS: 60}
        assert sorted(int(row["id"], 16) for row in rows) == [*range(50), *range(100, 110)]
        twins = {row["id"]: row["detail"] for row in rows}
        assert twins[f"{40:032x}"] == f"kept {140:032x} https://example.org/140"
        assert sorted(kept(tmp_path / name)) == [*range(50, 60), *range(300, 330)]


@pytest.mark.parametrize("verify", [False, True])
def test_star_rounds_remove_what_one_task_removes(tmp_path: Path, corpus: list[dict[str, Any]], verify: bool) -> None:
    rng = random.Random(2)
    chain = [words(rng, 250)]
    for _ in range(20):  # each like the one before, the first and the last unlike
        old = chain[-1].split()
        chain.append(" ".join(old[15:] + words(rng, 15).split()))
    rows = corpus[:60] + corpus[100:160] + [document(500 + i, text, score=i) for i, text in enumerate(chain)]
    rng.shuffle(rows)
    refs = write_documents(tmp_path / "in", rows[:40], rows[40:90], rows[90:])
    run(tmp_path / "one", refs, verify=verify)
    run(tmp_path / "stars", refs, verify=verify, star_rounds=4, reverse=True)
    one, stars = ([(row["id"], row["detail"]) for row in removed(tmp_path / name)] for name in ("one", "stars"))
    assert one == stars
    assert len(one) >= 75
    assert kept(tmp_path / "one") == kept(tmp_path / "stars")


def test_too_few_rounds_are_told(tmp_path: Path) -> None:
    rng = random.Random(2)
    text = words(rng, 400).split()
    rows = [document(i, " ".join(text[10 * i : 10 * i + 120]), score=i * 7 % 11) for i in range(28)]
    rng.shuffle(rows)
    refs = write_documents(tmp_path / "in", rows)
    with pytest.raises(UserError, match="not complete after these rounds"):
        run(tmp_path / "few", refs, bands=20, rows=5, star_rounds=1)
    run(tmp_path / "enough", refs, bands=20, rows=5, star_rounds=5)
    run(tmp_path / "one", refs, bands=20, rows=5)
    assert kept(tmp_path / "enough") == kept(tmp_path / "one")


def test_more_edges_than_one_task_is_allowed_are_refused(tmp_path: Path, corpus: list[dict[str, Any]]) -> None:
    refs = write_documents(tmp_path / "in", corpus[:200])
    with pytest.raises(UserError, match=r"more than the 10 of one task.*star_rounds=8"):
        run(tmp_path, refs, one_node_edges=10)


def test_what_stays_depends_neither_on_files_nor_partitions_nor_task_order(
    tmp_path: Path, corpus: list[dict[str, Any]]
) -> None:
    rows = corpus[:40] + corpus[100:140]
    run(tmp_path / "a", write_documents(tmp_path / "in1", rows), partitions=1)
    run(tmp_path / "b", write_documents(tmp_path / "in2", rows[60:], rows[:60]), partitions=4, reverse=True)
    assert sorted(kept(tmp_path / "a")) == sorted(kept(tmp_path / "b"))
    assert len(kept(tmp_path / "a")) < 45


def test_the_same_bytes_each_time(tmp_path: Path, corpus: list[dict[str, Any]]) -> None:
    refs = write_documents(tmp_path / "in", corpus[:60], corpus[100:160])
    for name, reverse in (("a", False), ("b", True)):
        run(tmp_path / name, refs, reverse=reverse, verify=True)
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")


def test_runs_are_sorted_and_partitions_are_ranges_of_keys(tmp_path: Path, corpus: list[dict[str, Any]]) -> None:
    run(tmp_path, write_documents(tmp_path / "in", corpus[:100], corpus[100:]), partitions=5)
    before = -1
    for p in range(5):
        runs = [
            pq.read_table(path).column("key").to_pylist() for path in tmp_path.glob(f"near-signatures/bands/{p:05d}-*")
        ]
        assert len(runs) == 2
        assert all(run == sorted(run) for run in runs)
        assert min(map(min, runs)) > before
        before = max(map(max, runs))


def test_documents_without_words_and_short_ones(tmp_path: Path) -> None:
    texts = ["?!", "...", "", "one two", "One, two!", "one three"]
    refs = write_documents(tmp_path / "in", [document(i, text) for i, text in enumerate(texts)])
    for name, verify in (("a", False), ("b", True)):
        run(tmp_path / name, refs, verify=verify)
        assert kept(tmp_path / name) == [0, 1, 2, 3, 5]


@pytest.mark.parametrize("settings", [{}, {"verify": True}, {"star_rounds": 2}])
def test_nothing_in_gives_nothing_out(tmp_path: Path, settings: dict[str, Any]) -> None:
    assert run(tmp_path, write_documents(tmp_path / "in", []), **settings)["near-dedup"].totals.rows_out == 0


def test_the_name_of_a_members_file_gives_the_number_of_the_input_file() -> None:
    for file in (0, 7, 123_456, numbers.OTHER_CORPORA, numbers.OTHER_CORPORA + 12):
        assert near.file_of_members(f"some/where/{near.members_name(file)}") == file


def test_edited_is_as_far_as_it_says() -> None:
    rng = random.Random(0)
    text = words(rng, 400)
    assert jaccard(text, edited(rng, text, 0.5), 5) == pytest.approx(1 / 3, abs=0.02)
