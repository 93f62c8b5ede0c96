from __future__ import annotations

from pathlib import Path

import pytest
from commands import config_file, run
from finetuned import write_finetuned
from harness import ranks
from small_model import finetune_config, pretrain_config, write_task

from pipeline.pretrain import pretrain


def test_help_has_examples(tmp_path: Path) -> None:
    done = run("python", "finetune", "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "init.weights=random run.name=from-scratch" in done.stdout


def test_a_look_at_the_task_trains_nothing(tmp_path: Path) -> None:
    checkpoint, _ = write_finetuned(tmp_path / "before", "classification", labels=["no", "yes"])
    write_task(tmp_path / "task")
    config = config_file(tmp_path / "config.yaml", finetune_config(checkpoint, tmp_path / "task", tmp_path / "runs"))
    done = run("python", "finetune", config, "--explore", str(tmp_path / "task.html"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith(f"warnings; {tmp_path / 'task.html'}")
    assert "<html" in (tmp_path / "task.html").read_text()
    assert not (tmp_path / "runs").exists()


def test_a_missing_checkpoint_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    config = config_file(tmp_path / "config.yaml", finetune_config(tmp_path / "no", tmp_path, tmp_path / "runs"))
    done = run("python", "finetune", config, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path / 'no'}: no checkpoint here")
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_finetune_and_evaluate_from_the_command_line(small_dataset: Path, tmp_path: Path) -> None:
    write_task(tmp_path / "task")
    ranks(1, pretrain, pretrain_config(small_dataset, tmp_path))
    settings = finetune_config(tmp_path / "run" / "checkpoints" / "latest", tmp_path / "task", tmp_path)
    done = run("torchrun", "finetune", config_file(tmp_path / "finetune.yaml", settings), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "finetune: test accuracy" in done.stdout
    again = run("python", "finetune", str(tmp_path / "finetune.yaml"), cwd=tmp_path)
    assert again.stdout.strip() == "finetune: complete, nothing to do"
    (tmp_path / "evaluate.yaml").write_text(
        f"run: {{name: scores, dir: {tmp_path}}}\n"
        f"checkpoint: {tmp_path}/run/checkpoints/latest\n"
        f"perplexity: {{path: {small_dataset}, documents: 3}}\n"
        "tracking: {mlflow: false}\n"
    )
    done = run("python", "evaluate", str(tmp_path / "evaluate.yaml"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "scores: perplexity per token" in done.stdout
    again = run("python", "evaluate", str(tmp_path / "evaluate.yaml"), cwd=tmp_path)
    assert again.stdout.strip() == "scores: complete, nothing to do"
