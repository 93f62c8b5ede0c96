from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from finetuned import KINDS, small_task
from original_tasks import ORIGINALS
from small_model import OBJECTS, SUBJECTS, VERBS, finetune_config, tokenizer_bytes

from data_prep.errors import UserError
from data_prep.tokenizer import Tokenizer
from pipeline.config.task_data import TaskDataConfig
from pipeline.finetune.examples import Split
from pipeline.finetune.explore import explore
from pipeline.finetune.look import look
from pipeline.finetune.measures import measure, warnings
from pipeline.finetune.task import Example, Task
from pipeline.finetune.tasks.registry import TASKS


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(tokenizer_bytes())


def task(train: list[tuple[str, str]], test: list[tuple[str, str]]) -> Task:
    splits = {
        split: [Example((text,), label) for text, label in rows]
        for split, rows in (("train", train), ("validation", train[:1]), ("test", test))
    }
    labels = sorted({label for _, label in train})
    return Task("films", "classification", "label", splits, labels, "0" * 64, ("accuracy",), "0" * 64, "/data")


def test_lengths_and_what_is_cut(tokenizer: Tokenizer) -> None:
    texts = ["the cat sees the moon. " * n for n in (1, 3, 9)]
    films = task([(text, "x") for text in texts] + [("a dog", "y")], [("the river", "x")])
    found = measure(films, tokenizer, 24)
    sizes = [len(tokenizer.encode(text)) for text in [*texts, "a dog"]]
    assert found.train.tokens.tolist() == [size + 2 for size in sizes]
    assert found.train.cut == sum(size > 22 for size in sizes) > 0
    assert found.median_tokens == {"x": sizes[1] + 2, "y": sizes[3] + 2}
    assert found.bytes_per_token == pytest.approx(sum(len(t.encode()) for t in [*texts, "a dog"]) / sum(sizes))
    assert found.train.labels == {"x": 3, "y": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_lengths_are_those_of_the_inputs(kind: str, tokenizer: Tokenizer) -> None:
    some = small_task(kind)
    whole, tight = (Split(some, "train", tokenizer, length).encoded for length in (512, 36))
    assert measure(some, tokenizer, 512).train.tokens.tolist() == whole.lengths.tolist()
    assert measure(some, tokenizer, 36).train.cut == tight.cut.sum() > 0


def test_pairs_that_share_a_text_with_train_are_said(tokenizer: Tokenizer) -> None:
    splits = {
        "train": [Example((f"the cat {n}", f"a dog {n}"), "xy"[n % 2]) for n in range(40)],
        "validation": [Example((f"nobody {n}", f"the moon {n}"), "xy"[n % 2]) for n in range(20)],
        "test": [Example((f"the cat {n}" if n < 4 else f"us {n}", f"it {n}"), "xy"[n % 2]) for n in range(20)],
    }
    pairs = Task("p", "similarity", "label", splits, ["x", "y"], "0" * 64, ("accuracy",), "0" * 64, "/data")
    assert warnings(pairs, measure(pairs, tokenizer, 64))[0] == "4 test examples (20.0 %) share a text with train"


def test_a_page_that_cannot_be_written_is_one_clear_line(tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="this is a folder; name a file in it"):
        look(finetune_config(tmp_path, tmp_path, tmp_path), tmp_path, print)
    (tmp_path / "file").write_text("")
    films = task([("a dog", "x"), ("a cat", "y")], [("the river", "x")])
    with pytest.raises(UserError, match="file: no folder to write in"):
        explore(films, tokenizer, 64, tmp_path / "file" / "page.html")


def test_a_sound_task_has_no_warnings(tokenizer: Tokenizer) -> None:
    sentences = [f"{a} {b} {c}." for a in SUBJECTS for b in VERBS for c in OBJECTS]
    rows = [(sentence, "xy"[n % 2]) for n, sentence in enumerate(sentences[:80])]
    films = task(rows[:40], rows[40:])
    films.splits["validation"][:] = [Example((sentences[100],), "x"), Example((sentences[101],), "y")]
    found = measure(films, tokenizer, 64)
    assert warnings(films, found) == []


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([], [("The cat likes 3", "y"), ("the cat likes 4", "y")], "2 test examples stand in train word by word, 1 of"),
        ([("the cat likes 2", "y")], [], "1 text of train with more than one label"),
        ([("the cat likes 2", "x")], [], "train: 1 example repeats an earlier one"),
        ([(f"a dog {n}", "x") for n in range(200)], [], "of train have the label x: accuracy says little"),
        ([("a dog", "z")], [], "1 labels have fewer than 10 training examples, 'z' among them"),
        ([("a dog", "z")], [], "test has no example of 'z'"),
        ([], [(f"a dog {n}", "x") for n in range(20)], "x makes up 25 points more of test than of train"),
        ([("the cat " * 60, "x")] * 3, [], "of train are cut at the context of 64 tokens"),
        ([("a <br /> dog", "x")], [("a \x85 dog", "x")], "1 example has HTML tags"),
        ([("a <br /> dog", "x")], [("a \x85 dog", "x")], "1 example has control characters"),
        ([(f'"a dog {n}"', "x") for n in range(10)], [], "10 training examples are wrapped in quotes"),
        ([("이별 " * 30 + str(n), "x") for n in range(60)], [], "the tokenizer was not made for such texts"),
    ],
)
def test_what_may_spoil_a_result_is_said(
    tokenizer: Tokenizer, train: list[tuple[str, str]], test: list[tuple[str, str]], message: str
) -> None:
    rows = [(f"the cat likes {n}", "xy"[n % 2]) for n in range(20)]
    others = [(f"nobody finds {n}", "xy"[n % 2]) for n in range(20)]
    films = task(rows + train, others + test)
    found = warnings(films, measure(films, tokenizer, 64))
    assert [line for line in found if message in line], found


class Page(HTMLParser):
    """Collects the text, and what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.loads: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [value or "" for name, value in attrs if name in ("src", "href")]
        self.loads += [tag] * (tag == "script")
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.mark.parametrize("name", ["imdb", "qqp", "sts-b", "mnli", "race"])
def test_the_page_of_each_kind(name: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    original = next(one for one in ORIGINALS if one.name == name)
    original.write(tmp_path)
    form = TASKS[name].forms[0]
    shares = {f"{split}_share": 0.3 for split in ("validation", "test") if split not in form.table.files}
    config = TaskDataConfig.model_validate(
        {"name": name, "root": str(tmp_path), "cache": str(tmp_path / "cache"), "verify": False, **shares}
    )
    loaded, said = Task.load(config), []
    found = explore(loaded, tokenizer, 64, tmp_path / "page.html", said.append)
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(html)
    assert (page.loads, page.open) == (["data:,"], [])
    text = " ".join(page.words)
    for shown in (*found, *loaded.notes, *(f"{len(rows):,}" for rows in loaded.splits.values())):
        assert shown in text
    for split in loaded.splits:
        assert split in page.words
    assert said[-1] == f"{name}: {len(found)} warnings; {tmp_path / 'page.html'}"
    explore(loaded, tokenizer, 64, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == html


def test_texts_are_shown_as_text(tokenizer: Tokenizer, tmp_path: Path) -> None:
    films = task([("<script>alert(1)</script>", "<b>"), ("ok", "y")], [("fine", "y")])
    explore(films, tokenizer, 64, tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text()
    assert "&lt;script&gt;" in html
    assert "<script" not in html
    assert "<b>&lt;b&gt;" not in html


def test_scores_have_a_chart_and_no_labels(tokenizer: Tokenizer, tmp_path: Path) -> None:
    rows = [Example((f"the cat {n}", "a dog"), n / 4) for n in range(20)]
    splits = {"train": rows, "validation": rows[:2], "test": rows[2:5]}
    scored = Task("s", "similarity", "score", splits, [], "0" * 64, ("pearson",), "0" * 64, "/data")
    found = measure(scored, tokenizer, 64)
    assert found.train.labels == {}
    assert np.array_equal(found.scores, np.arange(20) / 4)
    assert {label: len(examples) for label, examples in found.samples.items()} == {"low": 3, "middle": 3, "high": 3}
