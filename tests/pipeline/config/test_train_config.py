from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_model import pretrain_config

from data_prep.configfile import to_yaml, validate
from data_prep.errors import UserError
from pipeline.config.schema import PretrainConfig


def config(**changes: Any) -> PretrainConfig:
    return pretrain_config(Path("data"), Path("runs"), **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {"tokens": None}}, "train: give exactly one of tokens and epochs"),
        ({"train": {"epochs": 2}}, "train: give exactly one of tokens and epochs"),
        ({"train": {"batch_ramp": {"start": 13, "tokens": 5}}}, "batch_ramp.start 13 is more than global_batch 12"),
        ({"data": {"skip": [[5, 5]]}}, r"the range \[5, 5\) of skip holds no sample"),
        ({"data": {"allow_changed": "xyz"}}, "data.allow_changed: String should match pattern"),
        ({"schedule": {"kind": "wsd"}}, 'schedule: decay_share belongs to kind "wsd", which needs it'),
        ({"samples": {"every": 5}}, "samples.prompts is missing"),
        ({"profile": {"stpes": 5}}, "unknown key profile.stpes.*did you mean profile.steps"),
        ({"log": {"peak_flops": 0}}, "log.peak_flops: Input should be greater than 0"),
    ],
)
def test_a_wrong_value_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config(**changes)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    import yaml

    made = config(
        train={"tokens": None, "epochs": 100, "batch_ramp": {"start": 4, "tokens": "4B"}},
        schedule={"kind": "wsd", "decay_share": 0.2},
        data={"skip": [[3, 9]]},
        samples={"every": 5, "prompts": ["a"]},
        profile={"memory": True},
    )
    assert made.train.batch_ramp is not None
    assert made.train.batch_ramp.tokens == 4 * 10**9
    assert validate(PretrainConfig, yaml.safe_load(to_yaml(made)), "test") == made
