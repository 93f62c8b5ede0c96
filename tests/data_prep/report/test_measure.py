from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_corpus import document, write_documents

from data_prep.errors import CorruptFile
from data_prep.manifest import FileRef
from data_prep.report.measure import domain_label, karma_step, measure


def test_one_pass_finds_what_was_put_in(tmp_path: Path) -> None:
    rows = [
        document(1, "one two three", score=3, created=1_325_376_000, url="https://news.bbc.co.uk/a"),  # 2012-01-01
        document(2, "é" * 100, score=17, created=1_325_376_000 - 1, url="https://bbc.com/b"),  # 2011-12
        document(3, "한국어 문서", score=-4, created=None, url="https://foo.blogspot.com/"),
        {**document(4, "x", score=None, url="https://127.0.0.1/"), "language": None},
    ]
    seen: list[int] = []
    found = measure(write_documents(tmp_path, rows[:3], rows[3:]), seen.append)
    assert seen == [3, 4]
    assert found.documents == 4
    assert found.text_bytes == sum(len(row["text"].encode()) for row in rows)
    assert (found.words.total, found.words.most) == (3 + 1 + 2 + 1, 3)
    assert (found.characters.least, found.characters.most) == (1, 100)
    assert found.karma_steps == {0: 1, 3: 1, 16: 1}
    assert found.months == {12 * 2012: 1, 12 * 2011 + 11: 1, 12 * 1970: 1}
    assert found.languages == {"en": 3, "": 1}
    assert found.domains.top(5) == [("bbc", 2), ("127.0.0.1", 1), ("blogspot", 1)]


def test_the_sample_depends_on_the_ids_alone(tmp_path: Path) -> None:
    rows = [document(i, f"text {i}") for i in range(100)]
    once = measure(write_documents(tmp_path / "a", rows), lambda n: None)
    again = measure(write_documents(tmp_path / "b", rows[60:], rows[:60]), lambda n: None)
    other = measure(write_documents(tmp_path / "a", rows), lambda n: None, seed=1)
    assert once.sample.items == again.sample.items != other.sample.items


def test_no_document_is_no_error(tmp_path: Path) -> None:
    assert measure(write_documents(tmp_path, []), lambda n: None).documents == 0


def test_karma_steps_double() -> None:
    scores = np.array([-9, 0, 1, 2, 3, 4, 7, 8, 15, 16, 2**30, 2**31 - 1])
    assert karma_step(scores).tolist() == [0, 0, 1, 2, 3, 4, 4, 8, 8, 16, 2**30, 2**30]


@pytest.mark.parametrize(
    ("url", "label"),
    [
        ("https://www.nih.gov/x", "nih"),
        ("https://a.b.nytimes.com/", "nytimes"),
        ("https://10.1.2.3/", "10.1.2.3"),
        ("https://[::1]/", "[::1]"),
        ("https://localhost/", "localhost"),
    ],
)
def test_domain_labels(url: str, label: str) -> None:
    assert domain_label(url) == label


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (ref,) = write_documents(tmp_path, [document(1, "x" * 1000)])
    Path(ref.path).write_bytes(Path(ref.path).read_bytes()[:100])
    with pytest.raises(CorruptFile, match=r"part-00000\.parquet: cannot be read as Parquet"):
        measure([FileRef(ref.path, "", 0)], lambda n: None)
