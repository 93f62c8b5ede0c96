from __future__ import annotations

from pathlib import Path

import pytest
from harness import ranks
from small_model import model_config, pretrain_config

from pipeline.pretrain import pretrain


@pytest.fixture(scope="session")
def pretrained(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a small model that has learned something; not to be written to."""
    config = pretrain_config(
        small_dataset,
        tmp_path_factory.mktemp("pretrained"),
        model=model_config(d_model=32).model_dump(),
        train={"tokens": 40 * 12 * 16, "global_batch": 12, "micro_batch": 12, "log_every": 20},
        checkpoint={"every": 40},
        validation={"every": 40},
    )
    return Path(ranks(1, pretrain, config)[0]["checkpoint"])
