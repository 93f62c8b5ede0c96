from __future__ import annotations

import pytest

from data_prep import configfile
from data_prep.errors import UserError
from data_prep.labelled import LabelledSettings, choose_labels, label_of, task_split


@pytest.mark.parametrize(
    ("url", "label"),
    [
        ("https://docs.python.org/3/library/os.html", "docs.python.org"),
        ("https://numpy.readthedocs.io/en/stable/numpy.linalg.html", "numpy"),
        ("https://pypi.org/project/NumPy/", "numpy"),
        ("https://github.com/numpy/numpy/blob/main/LICENSE.txt", "numpy"),
        ("http://www.sqlite.org/about.html", "sqlite.org"),
        ("ftp://x.org/y", None),
    ],
)
def test_the_label_is_the_package_or_the_site(url: str, label: str | None) -> None:
    assert label_of(LabelledSettings(), url) == label


def test_groups_are_joined() -> None:
    settings = LabelledSettings(url_patterns=(r"^https?://([^/]+)/([^/]+)",))
    assert label_of(settings, "https://a.org/b/c") == "a.org/b"


@pytest.mark.parametrize("pattern", ["(", "https?://.*"])
def test_a_pattern_that_cannot_name_a_label_is_refused(pattern: str) -> None:
    with pytest.raises(UserError, match="url_patterns"):
        configfile.validate(LabelledSettings, {"url_patterns": [pattern]}, "x.yaml")


def test_the_labels_are_the_largest_of_those_with_enough_everywhere() -> None:
    settings = LabelledSettings(labels=2, train_per_label=20, validation_per_label=4, test_per_label=4)
    counts = {}
    for label, train in {"big": 90, "middle": 40, "small": 30, "no-test": 1000}.items():
        counts |= {("train", label): train, ("validation", label): 5, ("test", label): 0 if label == "no-test" else 5}
    assert choose_labels(settings, counts) == ["big", "middle"]
    with pytest.raises(UserError, match=r"1 of 1 labels have 10/2/2 paragraphs .*lower train_per_label"):
        choose_labels(settings, {place: n for place, n in counts.items() if place[1] == "big"})


def test_held_out_documents_are_test_documents_and_no_others() -> None:
    settings = LabelledSettings(validation_share=0.2)
    assert {task_split(settings, "validation", str(i)) for i in range(100)} == {"test"}
    splits = [task_split(settings, "train", str(i)) for i in range(1000)]
    assert set(splits) == {"train", "validation"}
    assert 140 < splits.count("validation") < 260
