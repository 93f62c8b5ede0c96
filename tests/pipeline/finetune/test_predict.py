from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from finetuned import write_checkpoint, write_finetuned

from data_prep.errors import UserError
from pipeline.finetune.predict import Predictor, Tally, predict
from pipeline.finetune.text_rows import TextRow, read_rows

CASES: dict[str, tuple[str, list[str], list[dict[str, Any]]]] = {
    "classification": ("label", ["no", "yes"], [{"text": f"the cat {'sees ' * (n % 7)}it"} for n in range(50)]),
    "entailment": ("label", ["no", "yes"], [{"premise": "nobody", "hypothesis": "it " * (n + 1)} for n in range(9)]),
    "similarity": ("score", [], [{"a": "the moon", "b": "a boat " * (n + 1)} for n in range(9)]),
    "choice": (
        "label",
        [],
        [{"context": "a dog", "candidates": ["it", "the road", "us"][: 2 + n % 2]} for n in range(9)],
    ),
}


def lines_of(rows: list[dict[str, Any]]) -> Iterator[str]:
    return (json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize("kind", CASES)
def test_every_row_has_the_answer_that_it_has_alone(tmp_path: Path, kind: str) -> None:
    target, labels, rows = CASES[kind]
    checkpoint, _ = write_finetuned(tmp_path, kind, target, labels)
    predictor = Predictor(str(checkpoint), 2)
    tally = Tally(predictor)
    found = list(predict(predictor, read_rows(lines_of(rows), predictor.kind, None, (), "in"), tally))
    assert [one["row"] for one in found] == list(range(1, len(rows) + 1))
    for row, said in zip(rows, found, strict=True):
        (alone,) = predict(predictor, read_rows(lines_of([row]), predictor.kind, None, (), "in"), Tally(predictor))
        if target == "score":
            assert said["score"] == pytest.approx(alone["score"], rel=1e-4)
            continue
        probabilities = said["probabilities"]
        values = probabilities if kind == "choice" else list(probabilities.values())
        assert sum(values) == pytest.approx(1)
        assert probabilities == pytest.approx(alone["probabilities"], rel=1e-4)
        best = max(range(len(values)), key=values.__getitem__)
        assert said["label"] == (best if kind == "choice" else labels[best])
        assert len(values) == (len(row["candidates"]) if kind == "choice" else 2)
    assert tally.lines()[0].startswith(f"{len(rows)} rows")


def test_probabilities_are_the_softmax_of_the_model(tmp_path: Path) -> None:
    checkpoint, model = write_finetuned(tmp_path, "classification", labels=["no", "yes"])
    predictor = Predictor(str(checkpoint), 4)
    encoded = predictor.encode([("the cat sees it",)])
    with torch.no_grad():
        (expected,) = model(**encoded.batch(np.array([0])))["scores"].softmax(1)
    (said,) = predict(predictor, [TextRow(1, ("the cat sees it",))], Tally(predictor))
    assert said["probabilities"]["yes"] == pytest.approx(float(expected[1]), rel=1e-5)


def test_empty_texts_long_texts_and_unknown_labels_are_counted(tmp_path: Path) -> None:
    checkpoint, _ = write_finetuned(tmp_path, "classification", labels=["no", "yes"])
    predictor = Predictor(str(checkpoint), 4)
    rows = [
        {"text": "the cat", "label": "yes"},
        {"text": " ", "label": "no"},
        {"text": "the cat sees " * 40, "label": "no"},
        {"text": "nobody", "label": "perhaps"},
        {"text": "nobody"},
    ]
    tally = Tally(predictor)
    found = list(predict(predictor, read_rows(lines_of(rows), "classification", None, (), "in"), tally))
    assert found[1] == {"row": 2, "error": "the text is empty"}
    assert [one.get("truncated", False) for one in found] == [False, False, True, False, False]
    first, second = tally.lines()
    assert first == (
        "5 rows; 1 cut to a context of 32 tokens; 1 with an empty text have no prediction; "
        "1 labels are none of the model's and do not count"
    )
    right = (found[0]["label"] == "yes") + (found[2]["label"] == "no")
    loss = -(math.log(found[0]["probabilities"]["yes"]) + math.log(found[2]["probabilities"]["no"])) / 2
    assert second == f"loss {loss:.4f}, accuracy {right / 2:.4f} over the 2 rows with a label"


def test_pairs_are_measured_by_f1_too(tmp_path: Path) -> None:
    checkpoint, _ = write_finetuned(tmp_path, "similarity", labels=["no", "yes"])
    predictor = Predictor(str(checkpoint), 4)
    rows = [TextRow(n + 1, ("the cat " * n, "a dog"), "yes") for n in range(1, 6)]
    tally = Tally(predictor)
    found = [said["label"] for said in predict(predictor, rows, tally)]
    share = found.count("yes") / 5
    assert f"accuracy {share:.4f}, f1 {2 * share / (1 + share):.4f} over the 5 rows" in tally.lines()[1]


def test_a_checkpoint_without_a_head_is_refused(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path, "pretrain", {}, {"a": torch.ones(1)})
    with pytest.raises(UserError, match="written by pretrain: it has no head for a task; give one of fine-tuning"):
        Predictor(str(checkpoint), 4)
