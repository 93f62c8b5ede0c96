"""Several pretraining runs in one process group, which takes longer to start than they do."""

from __future__ import annotations

import gc
from collections.abc import Sequence

from data_prep.errors import UserError
from pipeline import distributed
from pipeline.config.schema import PretrainConfig
from pipeline.pretrain import pretrain


def pretrain_in_turn(configs: Sequence[PretrainConfig]) -> list[str]:
    """Start each in turn; "done" or the error. For a rank of `harness.ranks`."""
    world = distributed.init()
    distributed.init = lambda *_: world
    distributed.shutdown = lambda: None
    said = []
    for config in configs:
        try:
            pretrain(config)
            said.append("done")
        except UserError as error:
            said.append(str(error))
        gc.collect()  # what holds the folder's lock; else a process ends with its run
    return said
