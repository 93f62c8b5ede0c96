"""lm-evaluation-harness tasks against plain log-softmax and against our own numbers."""

from __future__ import annotations

import importlib.util
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from small_model import sentence, write_rows

from data_prep.errors import UserError
from data_prep.shards import DatasetManifest, TokenSplit
from pipeline.complete import harness_digest
from pipeline.config.schema import ChoiceConfig, EvaluateConfig, HarnessConfig, PerplexityConfig
from pipeline.evaluate.choice import choice
from pipeline.evaluate.model import Scorer
from pipeline.evaluate.perplexity import perplexity

INSTALLED = importlib.util.find_spec("lm_eval") is not None
needs_harness = pytest.mark.skipif(not INSTALLED, reason="lm-eval is not installed: pip install -e '.[harness]'")


@pytest.fixture(scope="module")
def scorer(pretrained: Path) -> Scorer:
    return Scorer(str(pretrained))


def write_yaml(folder: Path, name: str, data: Path, **settings: Any) -> None:
    task = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        **settings,
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(task))


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory, scorer: Scorer, small_dataset: Path) -> Path:
    """Two tasks: choices of equally many tokens behind no context, and the validation documents."""
    folder = tmp_path_factory.mktemp("tasks")
    draw = random.Random(3)
    by_length: dict[int, list[str]] = {}
    for text in sorted({sentence(draw) for _ in range(100)}):
        by_length.setdefault(len(scorer.tokenizer.encode(f" {text}")), []).append(text)
    rows = [
        {"context": "", "choices": texts[first : first + 3], "answer": draw.randrange(3)}
        for texts in by_length.values()
        for first in range(0, len(texts) - 2, 3)
    ]
    assert len(rows) > 10
    write_rows(folder / "pick.jsonl", rows)
    write_yaml(
        folder,
        "pick",
        folder / "pick.jsonl",
        output_type="multiple_choice",
        doc_to_text="{{context}}",
        doc_to_choice="{{choices}}",
        doc_to_target="answer",
        metric_list=[{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    )
    split = TokenSplit(str(small_dataset), DatasetManifest.load(str(small_dataset)), "validation")
    documents = [scorer.tokenizer.decode(split.document(i)[:-1].tolist()) for i in range(split.documents)]
    write_rows(folder / "held-out.jsonl", [{"text": text} for text in documents])
    write_yaml(
        folder,
        "held-out",
        folder / "held-out.jsonl",
        output_type="loglikelihood_rolling",
        doc_to_text="",
        doc_to_target="{{text}}",
        metric_list=[{"metric": name} for name in ("word_perplexity", "byte_perplexity", "bits_per_byte")],
    )
    return folder


@needs_harness
@pytest.mark.slow
def test_scores_equal_ours_where_the_definitions_agree(scorer: Scorer, tasks: Path, small_dataset: Path) -> None:
    from pipeline.evaluate.harness import harness

    found, definition = harness(scorer, HarnessConfig(tasks=["pick", "held-out"], include_path=str(tasks)))
    ours = choice(scorer, ChoiceConfig(name="pick", path=str(tasks / "pick.jsonl")))
    n = ours["examples"]
    assert 0 < ours["accuracy"] < 1
    assert found["pick/acc"] == pytest.approx(ours["accuracy"], abs=1e-12)
    # The harness divides by n - 1.
    assert found["pick/acc_stderr"] == pytest.approx(ours["stderr"] * (n / (n - 1)) ** 0.5)
    text = perplexity(scorer, PerplexityConfig(path=str(small_dataset), documents=1000))
    assert found["held-out/word_perplexity"] == pytest.approx(text["ppl_word"])
    assert found["held-out/byte_perplexity"] == pytest.approx(text["ppl_byte"])
    assert found["held-out/bits_per_byte"] == pytest.approx(text["bits_per_byte"])
    assert definition["tasks"]["pick"] == {
        "version": "Yaml",
        "shots": 0,
        "examples": n,
        "output_type": "multiple_choice",
        "doc_to_text": "{{context}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "answer",
        "target_delimiter": " ",
        "fewshot_delimiter": "\n\n",
    }
    limited, _ = harness(scorer, HarnessConfig(tasks=["held-out"], include_path=str(tasks), limit=2))
    assert limited["held-out/word_perplexity"] != found["held-out/word_perplexity"]


def plain(scorer: Scorer, before: list[int], ids: list[int]) -> tuple[float, bool]:
    """One continuation without windows or padding; the model sees its last `sequence_length` tokens."""
    both = [*before, *ids]
    seen = both[:-1][-scorer.sequence_length :]
    with torch.no_grad():
        scores = torch.log_softmax(scorer.model.logits(torch.tensor([seen]))[0, -len(ids) :], -1)
    picked = scores[range(len(ids)), ids]
    return picked.sum().item(), bool((picked == scores.max(-1).values).all())


@needs_harness
def test_log_likelihoods_and_greedy_equal_plain_ones(scorer: Scorer) -> None:
    from pipeline.evaluate.harness_model import WebtextLM

    encode, eot = scorer.tokenizer.encode, scorer.tokenizer.eot_id
    pairs = [("the cat sees", " the moon."), ("", "nobody likes it."), ("a dog likes two apples. " * 9 + "the", " old")]
    with torch.no_grad():
        best = int(scorer.model.logits(torch.tensor([encode("the cat")]))[0, -1].argmax())
    pairs.append(("the cat", scorer.tokenizer.decode([best])))
    found = WebtextLM(scorer=scorer).loglikelihood([SimpleNamespace(args=pair) for pair in pairs])
    assert len(encode(pairs[2][0])) > scorer.sequence_length
    for (context, continuation), (score, greedy) in zip(pairs, found, strict=True):
        before = encode(context) if context else [eot]
        ids = encode(context + continuation)[len(encode(context)) :]
        expected = plain(scorer, before, ids)
        assert (score, greedy) == (pytest.approx(expected[0], abs=1e-4), expected[1])
    assert found[-1][1]
    assert not found[0][1] or not found[1][1]
    with pytest.raises(UserError, match="does not fit into the model's 16"):
        WebtextLM(scorer=scorer).loglikelihood([SimpleNamespace(args=("a", " dog" * 40))])


@needs_harness
@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("nowhere", {"output_type": "loglikelihood"}, r"cannot load the tasks \['nowhere'\].*not a registered"),
        ("gone", {"dataset_kwargs": {"data_files": "/nowhere.jsonl"}}, r"cannot load the tasks \['gone'\]"),
        (
            "story",
            {"output_type": "generate_until", "generation_kwargs": {"until": ["."], "typical_p": 0.2}},
            "generation_kwargs: 'typical_p' is not supported",
        ),
    ],
)
def test_bad_tasks_are_named(scorer: Scorer, tmp_path: Path, name: str, settings: Any, message: str) -> None:
    from pipeline.evaluate.harness import harness

    data = tmp_path / "rows.jsonl"
    write_rows(data, [{"text": "x"}])
    plain_task = {"output_type": "loglikelihood", "doc_to_text": "{{text}}", "doc_to_target": "{{text}}"}
    if name != "nowhere":
        write_yaml(tmp_path, name, data, **{**plain_task, **settings})
    with pytest.raises(UserError, match=message):
        harness(scorer, HarnessConfig(tasks=[name], include_path=str(tmp_path)))


@needs_harness
def test_a_run_carries_the_scores(pretrained: Path, tasks: Path, tmp_path: Path) -> None:
    from pipeline.evaluate.run import evaluate

    config = EvaluateConfig.model_validate(
        {
            "run": {"name": "e", "dir": str(tmp_path)},
            "checkpoint": str(pretrained),
            "harness": {"tasks": ["pick"], "include_path": str(tasks), "limit": 4},
            "tracking": {"mlflow": False},
        }
    )
    result = evaluate(config)
    assert result["metrics"].keys() == {"harness/pick/acc", "harness/pick/acc_stderr", "harness/truncated"}
    assert result["harness"]["harness"].startswith("lm-evaluation-harness 0.")
    assert (result["harness"]["limit"], result["harness"]["tasks"]["pick"]["examples"]) == (4, 4)
    assert evaluate(config) == {**evaluate(config), **result}


def test_without_the_package_one_line_says_what_to_install(
    pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.evaluate.run import evaluate

    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "lm_eval" else find_spec(name))
    for name in ("harness", "harness_model"):
        monkeypatch.delitem(sys.modules, f"pipeline.evaluate.{name}", raising=False)
    (tmp_path / "t.yaml").touch()
    config = EvaluateConfig.model_validate(
        {
            "run": {"name": "e", "dir": str(tmp_path / "runs")},
            "checkpoint": str(pretrained),
            "harness": {"tasks": ["t"], "include_path": str(tmp_path)},
            "tracking": {"mlflow": False},
        }
    )
    with pytest.raises(UserError, match=r"^harness: .* run `pip install -e '\.\[harness\]'`$"):
        evaluate(config)
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "a.yaml").write_text("task: a")
    (tmp_path / "utils.py").write_text("x = 1")
    yield tmp_path


@pytest.mark.parametrize("name", ["a.yaml", "utils.py", "new.jsonl"])
def test_the_digest_sees_every_file(folder: Path, name: str) -> None:
    before = harness_digest(str(folder))
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "utils.pyc").touch()
    assert harness_digest(str(folder)) == before
    (folder / name).write_text("changed")
    assert harness_digest(str(folder)) != before


def test_a_folder_without_tasks_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no task YAML here"):
        harness_digest(str(tmp_path / "none"))
