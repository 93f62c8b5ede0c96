"""The harness's own command with a checkpoint of ours, on two ranks."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import yaml
from commands import run
from small_model import write_rows
from tiny_models import native_checkpoint, random_model


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed")
def test_the_harness_runs_a_checkpoint_on_any_ranks(tmp_path: Path) -> None:
    checkpoint = native_checkpoint(tmp_path / "model", random_model("banded"))
    write_rows(tmp_path / "rows.jsonl", [{"text": text} for text in ("the cat sees it.", "a dog.", "nobody")])
    task = {
        "task": "held-out",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "rows.jsonl")}},
        "test_split": "test",
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{text}}",
        "metric_list": [{"metric": "bits_per_byte"}],
    }
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "held-out.yaml").write_text(yaml.safe_dump(task))
    found = []
    for kind in ("python", "torchrun"):
        out = tmp_path / kind
        words = ["--tasks", "held-out", "--include_path", str(tmp_path / "tasks"), "--output_path", str(out)]
        done = run(kind, "lm_eval", "--model_args", f"checkpoint={checkpoint}", *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "bits_per_byte" in done.stdout
        (results,) = out.rglob("results*.json")  # one rank alone writes
        found.append(json.loads(results.read_text())["results"]["held-out"])
    assert found[0] == found[1]
    bad = run("python", "lm_eval", "--tasks", "held-out", "--include_path", str(tmp_path / "tasks"), cwd=tmp_path)
    assert bad.returncode == 2
    assert "error: --model_args: no checkpoint; give checkpoint=RUN/checkpoints/latest" in bad.stderr
