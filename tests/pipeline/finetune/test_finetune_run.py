from __future__ import annotations

import math
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from dying import killed_in_step
from finetuned import small_task, write_finetuned
from harness import outcomes, ranks
from run_folder import assert_same_run, checkpoint_weights, metrics, weights
from small_model import finetune_config, tokenizer_bytes, write_rows, write_task

from data_prep.errors import UserError
from data_prep.tokenizer import Tokenizer
from pipeline.checkpoint.language_model import language_model
from pipeline.checkpoint.pieces import state_file
from pipeline.checkpoint.store import CheckpointManifest
from pipeline.config.schema import FinetuneConfig
from pipeline.finetune.examples import Split
from pipeline.finetune.metrics import measure
from pipeline.finetune.origin import Origin, body_of
from pipeline.finetune.predict import Predictor
from pipeline.finetune.run import announced, finetune, units_of, validate_every
from pipeline.finetune.task import Task
from pipeline.model.hf import weights_to_hf
from pipeline.train.selection import Selection


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("task")
    write_task(folder)
    return folder


@pytest.fixture(scope="module")
def learned(pretrained: Path, task: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[FinetuneConfig, Any]:
    """A run of 48 steps that learns an easy task long before it ends, and its result."""
    folder = tmp_path_factory.mktemp("learned")
    config = finetune_config(pretrained, task, folder, train={"epochs": 8}, validation={"every": 4})
    return config, ranks(1, finetune, config)[0]


def test_a_killed_fine_tuning_goes_on_exactly(pretrained: Path, task: Path, tmp_path: Path) -> None:
    """12 steps at once equal 12 steps with a SIGKILL in the tenth, behind the checkpoint of the eighth."""

    def config(name: str) -> FinetuneConfig:
        return finetune_config(
            pretrained,
            task,
            tmp_path / name,
            task={"dropout": 0.1},
            train={"length_group": 3},
            validation={"every": 3},
            parallel={"zero_stage": 3},
        )

    whole, _ = ranks(2, finetune, config("whole"))
    _, killed = outcomes(2, killed_in_step, config("cut"), 11, 1)
    assert killed.exit_code == -signal.SIGKILL
    first, _ = outcomes(2, finetune, config("cut"))
    assert any(f"resumed at step {step}" in first.output for step in (8, 9)), first.output
    assert first.value["metrics"] == whole["metrics"]
    assert whole["step"] == 12  # 2 epochs of 48 examples, 8 a step
    assert_same_run(tmp_path / "whole" / "finetune", tmp_path / "cut" / "finetune")
    for name in ("whole", "cut"):
        selection = Selection.load(tmp_path / name / "finetune", "accuracy")
        assert [step for step, _ in selection.values] == [3, 6, 9, 12]
        assert (tmp_path / name / "finetune" / "checkpoints" / "best").resolve().name == (
            f"step_{whole['metrics']['best/step']:08d}"
        )


def test_an_easy_task_is_learned_and_the_first_best_checkpoint_tested(learned: tuple[FinetuneConfig, Any]) -> None:
    config, found = learned
    run = Path(config.run.dir) / "finetune"
    accuracies = {step: row["val/accuracy"] for step, _, row in metrics(run) if "val/accuracy" in row}
    assert list(accuracies) == list(range(4, 49, 4))
    assert accuracies[4] < 0.9
    result = found["metrics"]
    best = max(accuracies, key=lambda step: (accuracies[step], -step))
    assert best < 44
    assert (result["best/step"], result["best/accuracy"]) == (best, accuracies[best])
    assert found["checkpoint"].endswith(f"step_{best:08d}")
    kept = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert kept == ["best", "latest", f"step_{best:08d}", "step_00000048"]
    assert (run / "checkpoints" / "best").resolve() == Path(found["checkpoint"]).resolve()
    assert result["val/accuracy"] == accuracies[48]
    assert result["test/accuracy"] > 0.9
    assert result["test/majority"] == pytest.approx(5 / 13)


def test_lineage_and_facts_of_the_checkpoint(learned: tuple[FinetuneConfig, Any], pretrained: Path) -> None:
    manifest = CheckpointManifest.load(Path(learned[1]["checkpoint"]))
    upstream = CheckpointManifest.load(pretrained)
    assert manifest.kind == "finetune"
    assert manifest.lineage["pretrain"] == upstream.digest
    assert manifest.lineage["shards"] == upstream.lineage["shards"]
    assert manifest.model["task"]["labels"] == ["cat", "dog", "river"]
    with pytest.raises(UserError, match="written by finetune"):
        language_model(manifest, 0.0, "init.checkpoint")


def test_predictions_are_those_of_the_validation(learned: tuple[FinetuneConfig, Any]) -> None:
    config, found = learned
    task, predictor = Task.load(config.task), Predictor(found["checkpoint"], 4)
    for split, prefix in (("validation", "best"), ("test", "test")):
        examples = task.splits[split]
        scores = predictor.scores(predictor.encode([one.texts for one in examples]))
        labels = np.array([task.labels.index(str(one.label)) for one in examples])
        own = measure(scores, labels, "label", ("accuracy",))
        assert own["accuracy"] == found["metrics"][f"{prefix}/accuracy"]
        if prefix == "test":
            assert own["loss"] == pytest.approx(found["metrics"]["test/loss"], rel=1e-5)


def test_the_last_checkpoint_where_it_is_selected(learned: tuple[FinetuneConfig, Any], tmp_path: Path) -> None:
    """The same run again, with its folder, asks for the last instead."""
    config, found = learned
    shutil.copytree(Path(config.run.dir), tmp_path / "again", symlinks=True)
    run = config.run.model_copy(update={"dir": str(tmp_path / "again")})
    last = config.validation.model_copy(update={"select": "last"})
    (other,) = ranks(1, finetune, config.model_copy(update={"run": run, "validation": last}))
    assert other["checkpoint"].endswith("step_00000048")
    assert other["metrics"]["best/step"] == found["metrics"]["best/step"]
    assert other["metrics"]["test/loss"] != found["metrics"]["test/loss"]


@pytest.mark.parametrize(
    ("examples", "min_steps", "steps", "validations"),
    [
        (320, 0, 30, [10, 20, 30]),
        (100, 0, 10, [4, 8, 10]),  # not the 9th and, behind it, the 10th
        (100, 300, 300, [100, 200, 300]),
        (22_500, 300, 2110, [704, 1408, 2110]),
    ],
)
def test_few_labels_make_further_passes_and_as_many_validations(
    examples: int, min_steps: int, steps: int, validations: list[int]
) -> None:
    config = finetune_config(
        Path("none"),
        Path("none"),
        Path("none"),
        train={"epochs": 3, "global_batch": 32, "min_steps": min_steps},
        validation={"epochs": 1},
    )
    units = units_of(config, examples)
    every = validate_every(config, units)
    assert math.ceil(units / 32) == steps
    assert [*range(every or 0, steps, every or 0), steps] == validations
    assert validate_every(finetune_config(Path("none"), Path("none"), Path("none")), units) is None


def test_examples_that_are_cut_are_counted_before_the_first_step(tmp_path: Path) -> None:
    checkpoint, _ = write_finetuned(tmp_path, "entailment", labels=("no", "yes"), sequence_length=36)
    origin, some = Origin.open(str(checkpoint), 0.0), small_task("entailment")
    splits = {name: Split(some, name, Tokenizer(origin.tokenizer), 36) for name in some.splits}
    lines = announced(finetune_config(checkpoint, tmp_path, tmp_path), origin, some, splits, 48)
    cut = int(splits["train"].encoded.cut.sum())
    assert 0 < cut < 24
    assert f"cut to a context of 36 tokens: train {cut} ({100 * cut / 24:.1f} %)" in lines[1]


def barely(checkpoint: Path, task: Path, runs: Path, /, **changes: Any) -> FinetuneConfig:
    """With a rate of (nearly) nothing, what is saved is what was started from."""
    return finetune_config(checkpoint, task, runs, optimizer={"lr": 1e-30}, train={"epochs": 0.1}, **changes)


def test_random_weights_are_another_start_without_the_lineage(pretrained: Path, task: Path, tmp_path: Path) -> None:
    for name in ("pretrained", "random"):
        ranks(1, finetune, barely(pretrained, task, tmp_path, run={"name": name}, init={"weights": name}))
    given = checkpoint_weights(pretrained)
    for name, value in given.items():
        kept = weights(tmp_path / "pretrained")[f"body.{name}"][: len(value)]
        assert torch.equal(kept, value), name
        if value.ndim > 1:
            assert not torch.allclose(weights(tmp_path / "random")[f"body.{name}"][: len(value)], value)
    assert "pretrain" not in CheckpointManifest.load(tmp_path / "random" / "checkpoints" / "latest").lineage


def test_from_one_task_to_another(learned: tuple[FinetuneConfig, Any], tmp_path: Path) -> None:
    """Sentiment to similarity: the body and the special tokens stay, the head is new."""
    rows = [{"a": f"the cat {n}", "b": "a dog", "score": n % 5} for n in range(20)]
    for split in ("train", "validation", "test"):
        write_rows(tmp_path / "data" / f"{split}.jsonl", rows)
    before = Path(learned[1]["checkpoint"])
    table = {
        "kind": "similarity",
        "target": "score",
        "files": {split: f"{split}.jsonl" for split in ("train", "validation", "test")},
        "texts": ["a", "b"],
        "label": "score",
    }
    own = {"name": "likeness", "path": None, "root": str(tmp_path / "data"), "table": table}
    config = barely(before, tmp_path, tmp_path / "runs", task={**own, "cache": str(tmp_path / "cache")})
    (found,) = ranks(1, finetune, config)
    assert "test/pearson" in found["metrics"]
    after, given = checkpoint_weights(Path(found["checkpoint"])), checkpoint_weights(before)
    assert all(torch.equal(after[name], value) for name, value in given.items() if name.startswith("body."))
    assert after["score.weight"].shape == (1, 32)
    manifest = CheckpointManifest.load(Path(found["checkpoint"]))
    assert manifest.lineage["finetune"] == CheckpointManifest.load(before).digest
    assert manifest.model["task"]["kind"] == "similarity"


def test_from_a_folder_of_hugging_face(task: Path, tmp_path: Path) -> None:
    shape: dict[str, Any] = {"n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2}
    theirs = transformers.OpenAIGPTLMHeadModel(
        transformers.OpenAIGPTConfig(vocab_size=Tokenizer(tokenizer_bytes()).vocab_size, **shape)
    )
    theirs.save_pretrained(tmp_path / "theirs")
    (tmp_path / "theirs" / "tokenizer.json").write_bytes(tokenizer_bytes())
    (found,) = ranks(1, finetune, barely(tmp_path / "theirs", task, tmp_path / "runs"))
    manifest = CheckpointManifest.load(Path(found["checkpoint"]))
    assert manifest.lineage.keys() == {"imported", "task"}
    body = {
        name.removeprefix("body."): value
        for name, value in checkpoint_weights(Path(found["checkpoint"])).items()
        if name.startswith("body.")
    }
    for name, value in weights_to_hf(body, body_of(manifest, 0.0, "here")[0]).items():
        assert torch.equal(value[: len(theirs.state_dict()[name])], theirs.state_dict()[name]), name


def test_validation_and_test_do_not_depend_on_the_number_of_ranks(pretrained: Path, task: Path, tmp_path: Path) -> None:
    """11 and 13 examples do not divide by 2 ranks x 2."""
    found = []
    for size in (1, 2):
        config = finetune_config(
            pretrained,
            task,
            tmp_path,
            run={"name": str(size)},
            train={"epochs": 0.5},
            optimizer={"lr": 1e-3, "eps": 1e-4},
        )
        found.append(ranks(size, finetune, config)[0]["metrics"])
    assert found[0] == pytest.approx(found[1], abs=1e-5)
    accuracy = found[0]["test/accuracy"]
    assert accuracy * 13 == pytest.approx(round(accuracy * 13))
    assert found[0]["test/stderr"] == pytest.approx(math.sqrt(accuracy * (1 - accuracy) / 13))


def test_bad_input_is_told_before_anything_is_written(pretrained: Path, task: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(pretrained, tmp_path / "damaged"))
    os.truncate(damaged / state_file(0), 99)
    bad_task = Path(shutil.copytree(task, tmp_path / "bad"))
    write_rows(bad_task / "validation.jsonl", [{"text": "a", "label": "horse"}])
    for checkpoint, folder, init, message in (
        (tmp_path / "nothing", task, {}, "no checkpoint here"),
        (damaged, task, {}, "has 99 bytes, the manifest says"),
        (pretrained, bad_task, {}, "validation has labels that train has not: 'horse'"),
        (pretrained, task, {"transfer_layers": 3}, "the model has 2 blocks, fewer than 3"),
    ):
        (one,) = outcomes(1, finetune, finetune_config(checkpoint, folder, tmp_path / "runs", init=init))
        assert isinstance(one.error, UserError), one.trace
        assert message in str(one.error)
    assert not (tmp_path / "runs").exists()
