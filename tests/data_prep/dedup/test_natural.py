"""Real near-duplicates: editions and revisions of books, whose exact similarities are known (WEBTEXT_DATA_ROOT)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import zstandard
from near_dedup import kept, removed, run
from small_corpus import document, write_documents

from data_prep.dedup.bands import candidate_probability
from data_prep.dedup.jaccard import ShingleSets, similarities
from data_prep.dedup.minhash import MinHash
from data_prep.dedup.shingles import Texts
from data_prep.manifest import FileRef

pytestmark = pytest.mark.skipif("WEBTEXT_DATA_ROOT" not in os.environ, reason="WEBTEXT_DATA_ROOT is not set")


def rows(name: str) -> Iterator[dict[str, Any]]:
    path = Path(os.environ["WEBTEXT_DATA_ROOT"]) / "near_dup" / name
    with zstandard.open(path, "rt", encoding="utf-8") if name.endswith(".zst") else path.open() as lines:
        for line in lines:
            yield json.loads(line)


@pytest.fixture(scope="module")
def books() -> list[dict[str, Any]]:
    return list(rows("gutenberg_revisions.jsonl.zst"))


@pytest.fixture(scope="module")
def pairs(books: list[dict[str, Any]]) -> list[tuple[int, int, float]]:
    number = {book["id"]: i for i, book in enumerate(books)}
    return [(number[row["a"]], number[row["b"]], row["jaccard5"]) for row in rows("gutenberg_pairs.jsonl")]


@pytest.fixture(scope="module")
def exact(books: list[dict[str, Any]]) -> np.ndarray:
    """[n, n] similarity of all pairs."""
    sets = ShingleSets.of(Texts.of(pa.array([book["text"] for book in books], pa.large_string())), 5)
    n = len(books)
    at = np.indices((n, n)).reshape(2, -1)
    return similarities(sets, sets, at[0], at[1]).reshape(n, n)


@pytest.fixture(scope="module")
def refs(books: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> list[FileRef]:
    documents = [document(i, book["text"], score=1000 - i) for i, book in enumerate(books)]
    return write_documents(tmp_path_factory.mktemp("books"), documents[:20], documents[20:])


def components(joined: np.ndarray) -> list[int]:
    """Smallest member of the component of each book."""
    reach = joined | np.eye(len(joined), dtype=bool)
    for _ in range(6):
        reach = reach @ reach
    return [int(np.flatnonzero(row)[0]) for row in reach]


def test_exact_similarities_are_the_known_ones(exact: np.ndarray, pairs: list[tuple[int, int, float]]) -> None:
    """The list counts words a little differently (apostrophes, underscores)."""
    errors = [abs(exact[a, b] - known) for a, b, known in pairs]
    assert len(pairs) == 194
    assert np.median(errors) < 0.005
    assert max(errors) < 0.05


@pytest.mark.parametrize(("bands", "rows"), [(14, 8), (20, 5)])
def test_signatures_find_as_many_as_the_curve_says(
    books: list[dict[str, Any]], exact: np.ndarray, bands: int, rows: int
) -> None:
    """Pairs of a family share texts, so that their draws are not independent: many seeds."""
    texts = Texts.of(pa.array([book["text"] for book in books], pa.large_string()))
    upper = np.triu_indices(len(books), 1)
    found = []
    for seed in range(20):
        keys, _ = MinHash(5, bands, rows, seed).band_keys(texts)
        found.append((keys[:, None, :] == keys[None, :, :]).any(axis=2)[upper])
    share, similarity = np.mean(found, axis=0), exact[upper]
    for low, high in ((0.0, 0.3), (0.5, 0.8), (0.8, 0.95), (0.95, 1.01)):
        inside = (similarity >= low) & (similarity < high)
        assert inside.any()
        expected = candidate_probability(similarity[inside], bands, rows).mean()  # type: ignore[arg-type]
        assert share[inside].mean() == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("settings", [{"bands": 20, "rows": 5}, {"bands": 10, "rows": 1}])
def test_with_verification_what_stays_is_one_of_each_true_cluster(
    refs: list[FileRef], exact: np.ndarray, tmp_path: Path, settings: dict[str, int]
) -> None:
    run(tmp_path, refs, verify=True, threshold=0.5, **settings)
    expected = components(exact >= 0.5)
    stay = sorted(kept(tmp_path))
    assert stay == sorted(set(expected))
    for row in removed(tmp_path):
        lost, twin = int(row["id"], 16), int(row["detail"].split()[1], 16)
        assert twin == expected[lost]
        if row["score"] is not None:
            assert row["score"] == exact[lost, twin] >= 0.5


def test_by_default_no_book_takes_another_with_it(
    refs: list[FileRef], books: list[dict[str, Any]], exact: np.ndarray, tmp_path: Path
) -> None:
    run(tmp_path, refs)
    stay = set(kept(tmp_path))
    assert {books[i]["family"] for i in stay} == {book["family"] for book in books}
    for row in removed(tmp_path):
        lost, twin = int(row["id"], 16), int(row["detail"].split()[1], 16)
        assert books[lost]["family"] == books[twin]["family"]
    near = [i for i in range(len(books)) if any(exact[i, j] >= 0.9 for j in range(i))]
    assert sum(i not in stay for i in near) >= 0.97 * len(near)
