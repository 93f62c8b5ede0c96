"""The command, over every configuration."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small_model import pretrain_config, write_dataset

from data_prep.configfile import to_yaml
from launch.plan import main
from pipeline.checkpoint.store import CheckpointManifest
from pipeline.config.cluster import ClusterConfig
from pipeline.config.gpus import GPUS
from pipeline.config.schema import PretrainConfig
from pipeline.model.sizes import parameter_count
from pipeline.plan.inputs import read
from pipeline.plan.job import Job
from pipeline.plan.length import checkpoint, length, ramp_table, schedule_of, with_batch
from pipeline.plan.plan import make
from pipeline.plan.published import table
from pipeline.plan.time import step_seconds
from pipeline.plan.topology import choice, choices, ranked

ROOT = Path(__file__).parents[3]
CONFIGS = sorted(path for path in (ROOT / "configs" / "pretrain").glob("*.yaml") if not path.stem.startswith("base-"))
_TWO = ["cluster.gpus_per_node=2"]
CLUSTERS = {"gpt3-175b": ["cluster.nodes=128"], "demo": _TWO, "demo-low-lr": _TWO}
"""Where it should not be the 8 GPUs of the default."""


def planned(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    main([*arguments, "--json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_fits_as_it_stands(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = planned(capsys, str(path), *CLUSTERS.get(path.stem, []))
    asked, best = found["as_configured"], found["recommended"]
    assert found["problem"] is None
    assert asked["fits"]
    assert 0 < asked["memory_bytes"]["total"] <= found["cluster"]["usable_bytes"]
    assert best["step_seconds"] <= asked["step_seconds"] * (1 + 1e-9)
    assert sum(asked["step_parts_seconds"].values()) == pytest.approx(asked["step_seconds"])
    by_epochs = path.stem.startswith(("gpt1", "lstm"))  # of a dataset that is not here
    assert (asked["length"] is None) == by_epochs
    main([str(path), *CLUSTERS.get(path.stem, [])])
    assert ": fits" in capsys.readouterr().out


def test_what_is_recommended_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(ROOT / "configs" / "pretrain" / "gpt3-175b.yaml")
    words = shlex.split(planned(capsys, path, "cluster.nodes=128")["recommended"]["launch"])
    assert words[:3] == ["sbatch", "--nodes=128", "--ntasks-per-node=8"]
    script = words.index("slurm/pretrain.sbatch")
    assert words[script + 1] == path
    again = planned(capsys, *words[script + 1 :], "cluster.nodes=128")
    assert again["as_configured"]["step_seconds"] == again["recommended"]["step_seconds"]
    one_node = planned(capsys, path, "cluster.gpu=b200-180gb", "parallel.pipeline=1", "model.n_layer=8")
    assert shlex.split(one_node["as_configured"]["launch"])[:4] == [
        "deepspeed",
        "--num_accelerators",
        "8",
        "launch/pretrain.py",
    ]


def test_what_does_not_fit_says_so_and_what_would(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(ROOT / "configs" / "pretrain" / "gpt3-13b.yaml")
    found = planned(capsys, path, "cluster.nodes=1", "cluster.gpu=a100-40gb", "parallel.tensor=1")
    assert not found["as_configured"]["fits"]
    assert found["recommended"]["fits"]
    path = str(ROOT / "configs" / "pretrain" / "gpt3-175b.yaml")
    main([path])
    shown = capsys.readouterr().out
    assert "cannot run here: config: 8 ranks are not a multiple of" in shown
    assert "nothing fits" in shown
    assert "as many GPUs" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{demo}", "cluster.gpu=h100"], "no such GPU; there are a100-40gb"),
        (["{demo}", "cluster.gpus=8"], "unknown key cluster.gpus"),
        (["{demo}", "cluster.nodes=0"], "cluster.nodes"),
        (["nowhere.yaml"], "no such config file"),
        ([], "no config file"),
        (["{demo}", "--vocab-size", "0"], "--vocab-size 0"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    demo = str(ROOT / "configs" / "pretrain" / "demo.yaml")
    with pytest.raises(SystemExit) as end:
        main([one.format(demo=demo) for one in arguments])
    assert end.value.code == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert len(shown.err.strip().splitlines()) == 1
    assert shown.out == ""


def test_it_imports_no_torch() -> None:
    code = (
        "import sys; sys.argv = ['plan.py']; from launch.plan import main; "
        f"main([{str(ROOT / 'configs' / 'pretrain' / 'gpt2-124m.yaml')!r}]); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'deepspeed')))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_dataset_gives_vocabulary_and_length(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "shards")
    config = pretrain_config(tmp_path / "shards", tmp_path, train={"tokens": None, "epochs": 2.5})
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config))
    inputs = read(str(path), [])
    windows = (manifest.splits["train"].tokens - 1) // 16
    assert inputs.vocab_size == manifest.vocab_size
    assert inputs.tokens == -(-5 * windows // 2) * 16
    assert inputs.assumed == []
    assert read(str(path), ["data.path=elsewhere"]).tokens is None


def example(**changes: Any) -> tuple[PretrainConfig, Job, ClusterConfig]:
    config = pretrain_config(Path(), Path(), **changes)
    cluster = ClusterConfig(gpus_per_node=2)
    return config, Job(config.model, 300, 1, config.train.global_batch, 2), cluster


def test_every_step_of_a_ramp_takes_its_own_time() -> None:
    config, job, cluster = example(train={"micro_batch": 1, "batch_ramp": {"start": 1, "tokens": 1000}, "tokens": 5000})
    batches = schedule_of(config, job)
    whole = length(job, cluster, batches, 5000)
    consumed, steps, seconds = 0, 0, 0.0
    while consumed < 5000:
        batch = batches.samples(consumed)
        seconds += step_seconds(with_batch(job, batch), cluster)
        consumed, steps = consumed + batch * 16, steps + 1
    assert (whole.tokens, whole.steps) == (consumed, steps)
    assert whole.seconds == pytest.approx(seconds)
    rows = ramp_table(config, job, cluster, 5000)
    assert [rows[0].batch, rows[-1].batch] == [2, 12]  # one sample is less than one on each of two ranks
    assert [row.batch for row in rows] == sorted(row.batch for row in rows)
    assert rows[-1].step == whole.ramp_steps
    assert "the smallest batch" in (batches.describe(5000) or "")


def test_checkpoints_and_cost(capsys: pytest.CaptureFixture[str]) -> None:
    config, job, cluster = example()
    cluster = cluster.model_copy(update={"storage_gb": 1e6})
    one = checkpoint(config, job, cluster)
    assert one.kept_bytes == 3 * one.bytes
    assert one.bytes == 12 * parameter_count(job.model, job.vocab_size)
    assert one.share == 0  # beside the training
    between = config.checkpoint.every * step_seconds(job, cluster)
    slow = cluster.model_copy(update={"storage_gb": one.bytes / (2 * between) / 1e9})
    assert checkpoint(config, job, slow).share == pytest.approx(1 / 2)
    settings = config.checkpoint.model_copy(update={"background": False, "milestone_tokens": 1000})
    alone = config.model_copy(update={"checkpoint": settings})
    assert checkpoint(alone, job, slow).share == pytest.approx(2 / 3)
    assert checkpoint(alone, job, cluster, 5999).kept_bytes == (3 + 5) * one.bytes
    path = str(ROOT / "configs" / "pretrain" / "gpt2-124m.yaml")
    found = planned(capsys, path, "cluster.price=2")["as_configured"]
    assert found["cost"] == pytest.approx(found["length"]["seconds"] / 3600 * 8 * 2)
    assert planned(capsys, path)["as_configured"]["cost"] is None


def test_checkpoints_have_the_size_that_is_planned(pretrained: Path) -> None:
    model = CheckpointManifest.load(pretrained).model
    config = pretrain_config(Path(), Path(), model={name: model[name] for name in ("d_model", "n_layer", "n_head")})
    job = Job(config.model, model["vocab_size"], 12, 12, precision="fp32")
    written = sum(path.stat().st_size for path in pretrained.rglob("*") if path.is_file())
    assert written == pytest.approx(checkpoint(config, job, ClusterConfig()).bytes, rel=0.15)


def test_the_fastest_that_fits_is_first_and_nothing_is_hidden() -> None:
    _, job, _ = example()
    cluster = ClusterConfig(gpus_per_node=4)
    found = choices(job, cluster)
    splits = {(c.job.parallel.zero_stage, c.job.parallel.pipeline, c.job.parallel.tensor) for c in found}
    assert splits == {(1, 1, 1), (2, 1, 1), (3, 1, 1), (1, 2, 1), (1, 1, 2), (1, 2, 2)}
    best = ranked(found)
    assert [one.seconds for one in best] == sorted(one.seconds for one in best)
    assert best[0].seconds == pytest.approx(min(one.seconds for one in found))
    assert all(one.job.global_batch == job.global_batch and one.job.world_size == 4 for one in found)
    tight = ClusterConfig(gpus_per_node=4, memory_margin=0.9999999)
    assert ranked(choices(job, tight)) == []
    assert not choice(job, tight).fits


def test_offloading_and_chunks_are_advised_where_they_help() -> None:
    path = str(ROOT / "configs" / "pretrain" / "gpt2-1558m.yaml")
    overrides = ["cluster.gpu=rtx4090-24gb", "cluster.gpus_per_node=1"]
    plan = make(read(path, overrides), path, overrides)
    assert plan.recommended is None
    assert any("offload_optimizer" in line for line in plan.advice)


def test_the_table_in_the_docs_is_the_one_that_is_made() -> None:
    page = (ROOT / "docs" / "plan.md").read_text(encoding="utf-8")
    assert page.partition("<!-- published -->\n")[2].partition("\n<!-- end -->")[0] == table()


def test_every_figure_of_the_catalogue_has_a_source() -> None:
    assert all(gpu.source and gpu.efficiency_source for gpu in GPUS.values())
    with pytest.raises(ValueError, match="no such GPU"):
        ClusterConfig(gpu="tpu")
    assert ClusterConfig(nodes=2).world_size == 16
