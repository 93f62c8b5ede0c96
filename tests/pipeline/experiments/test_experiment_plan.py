from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_experiment import ARMS, experiment

from data_prep.configfile import load
from data_prep.errors import UserError
from pipeline.config.experiment import ExperimentConfig
from pipeline.config.features import FeaturesConfig
from pipeline.config.schema import FinetuneConfig
from pipeline.experiments.plan import children


def test_children_are_ordinary_runs_the_first_seed_of_everything_first(tmp_path: Path) -> None:
    settings, file = experiment(tmp_path, seeded=["run.seed", "task.seed"], set=["run.seed=99"])
    found = children(settings, file)
    names = ["scratch-9", "counts", "again-9", "scratch-all", "again-all"]
    assert [child.name for child in found] == [f"{name}-s{seed}" for seed in (3, 5) for name in names]
    first = found[0].config
    assert isinstance(first, FinetuneConfig)
    assert (first.task.seed, first.task.train_examples) == (3, 9)
    assert first.run.seed == 99  # what the experiment sets for all wins over its seeds
    assert first.init.weights == "random"  # and an arm over a point
    assert first.run.dir == str(tmp_path / "runs" / "small")
    assert isinstance(found[1].config, FeaturesConfig)
    again = found[2].config
    assert isinstance(again, FinetuneConfig)
    assert (found[2].after, found[7].after) == (found[0], found[5])  # each of its own seed
    assert again.init.checkpoint == str(tmp_path / "runs" / "small" / "scratch-9-s3" / "checkpoints" / "best")
    assert found[0].command[-1] == "init.weights=random"
    assert [child.result() for child in found] == [None] * 10


def test_a_model_of_the_last_step_is_taken_where_that_is_selected(tmp_path: Path) -> None:
    settings, file = experiment(tmp_path, set=["validation.select=last"], arms=[ARMS[0], ARMS[2]])
    again = children(settings, file)[1].config
    assert isinstance(again, FinetuneConfig)
    assert again.init.checkpoint.endswith("/checkpoints/latest")


def test_checkpoints_of_a_run_are_points_at_their_tokens(pretrained: Path, tmp_path: Path) -> None:
    axis = {"name": "tokens", "scale": "log", "checkpoints": "$FOLDER"}
    settings, file = experiment(tmp_path, axis=axis, arms=[{"name": "tuned", "config": "finetune.yaml"}], seeds=[1])
    with pytest.raises(UserError, match="variable FOLDER is not set"):
        children(settings, file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FOLDER", str(pretrained.parent))
        (child,) = children(settings, file)
        assert child.point is not None
        assert child.point.at == 40 * 12 * 16
        assert isinstance(child.config, FinetuneConfig)
        assert child.config.init.checkpoint == str(pretrained)
        patch.setenv("FOLDER", str(tmp_path))
        with pytest.raises(UserError, match="no checkpoints here"):
            children(settings, file)


def test_the_experiments_that_come_with_the_project_can_be_planned(
    pretrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MODEL", "LSTM_MODEL", "WEBTEXT_DATA_ROOT"):
        monkeypatch.setenv(name, "some")
    monkeypatch.setenv("CHECKPOINTS", str(pretrained.parent))
    files = sorted((Path(__file__).parents[3] / "configs" / "experiments").glob("*.yaml"))
    assert len(files) == 6
    for file in files:
        found = children(load(str(file), ExperimentConfig), str(file))
        assert len({child.seed for child in found}) == 3
        assert {child.config.task.root for child in found} == {"some"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": [ARMS[2], ARMS[0]]}, "starts from 'scratch', which is no arm above it"),
        ({"arms": [ARMS[1], {**ARMS[2], "after": "counts"}]}, "trains no language model"),
        ({"arms": [ARMS[0], {**ARMS[2], "axis": False}]}, "which has many points"),
        ({"arms": [ARMS[0], ARMS[0]]}, "two arms have the same name"),
        ({"seeds": [1, 1]}, "a seed stands twice"),
        ({"axis": {"name": "x", "scale": "log", "points": [{"at": 0}]}}, "at 0 or below"),
        ({"axis": {"name": "x", "points": [{"at": 1}, {"at": 1}]}}, "two points lie at the same place"),
        ({"axis": {"name": "x"}}, "give points, or checkpoints"),
        ({"set": ["train.epoch=1"], "arms": ARMS[:1]}, "did you mean train.epochs"),
        ({"arms": [ARMS[0], {**ARMS[0], "name": "Scratch"}]}, "two runs would be called 'scratch-9-s3'"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        children(*experiment(tmp_path, **changes))
