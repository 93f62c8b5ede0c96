"""Fine-tuned classifiers, opened and computed by `transformers`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from finetuned import write_finetuned

from data_prep.errors import UserError
from launch.convert import main
from pipeline.finetune.export import export_classifier, without_bias
from pipeline.finetune.predict import Predictor

TEXTS: dict[str, list[tuple[str, ...]]] = {
    "classification": [("the cat sees the moon.",), ("nobody likes a boat.",), ("a dog",)],
    "entailment": [("the cat sees the moon.", "a cat sees"), ("nobody", "nobody likes a boat."), ("a dog", "it")],
}


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_logits_are_those_of_transformers(tmp_path: Path, kind: str, norm: str) -> None:
    checkpoint, _ = write_finetuned(tmp_path / "ours", kind, labels=["no", "yes", "perhaps"], norm=norm)
    main(["export", str(checkpoint), str(tmp_path / "theirs")])
    options: dict[str, Any] = {"local_files_only": True}
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "theirs", **options).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "theirs", **options)
    predictor = Predictor(str(checkpoint), 8)
    texts = TEXTS[kind]
    ours = torch.tensor(predictor.scores(predictor.encode(texts)))
    given = tokenizer(*map(list, zip(*texts, strict=True)), padding=True, return_tensors="pt")
    with torch.no_grad():
        theirs = model(given["input_ids"], attention_mask=given["attention_mask"]).logits.double()
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert ours.std() > 0.1
    assert model.config.id2label == {0: "no", 1: "yes", 2: "perhaps"}


@pytest.mark.parametrize(
    ("kind", "shape", "message"),
    [
        ("similarity", {}, "a similarity task reads several sequences of an example"),
        ("choice", {}, "a choice task reads several sequences of an example"),
        ("classification", {"kind": "lstm", "n_head": 0}, "an LSTM has no Hugging Face model"),
        ("classification", {"attention": "alternating"}, "banded attention has no Hugging Face model"),
    ],
)
def test_what_has_no_class_there_is_said(tmp_path: Path, kind: str, shape: dict[str, Any], message: str) -> None:
    labels = [] if kind == "choice" else ["no", "yes"]
    checkpoint, _ = write_finetuned(tmp_path / "ours", kind, labels=labels, **shape)
    with pytest.raises(UserError, match=message):
        export_classifier(str(checkpoint), str(tmp_path / "theirs"))
    assert not (tmp_path / "theirs").exists()


def test_a_bias_that_cannot_be_moved_is_refused() -> None:
    head, norm = torch.ones(2, 8), torch.zeros(8)
    torch.testing.assert_close(head @ without_bias(head, torch.tensor([0.5, 0.5]), norm, "c"), torch.tensor([0.5, 0.5]))
    with pytest.raises(UserError, match="c: the head's bias has no place in a classifier"):
        without_bias(head, torch.tensor([0.5, -0.5]), norm, "c")
