"""What is planned: a configuration, and what its dataset says, or what is assumed without one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.configfile import apply_overrides, read_mapping, validate
from pipeline.config.cluster import ClusterConfig
from pipeline.config.schema import PretrainConfig
from pipeline.data.sources import open_data

GPT2_IDS = 50_257
"""Token ids of GPT-2 and GPT-3."""
_NO_DATA = "not-given"


@dataclass(frozen=True)
class Inputs:
    """What a plan is made of.

    Attributes:
        config: of the run.
        cluster: what it is planned for.
        vocab_size: number of token ids.
        tokens: to train on, or None if only a dataset could say.
        assumed: what was assumed, one line each.
    """

    config: PretrainConfig
    cluster: ClusterConfig
    vocab_size: int
    tokens: int | None
    assumed: list[str]


def read(path: str, overrides: Sequence[str], vocab_size: int | None = None) -> Inputs:
    """Read a configuration, and its dataset's manifest where there is one.

    Args:
        path: YAML file.
        overrides: settings that win over it.
        vocab_size: wins over the dataset's.

    Raises:
        UserError: a setting is wrong, or the dataset's manifest is damaged.
    """
    mapping = apply_overrides(read_mapping(path), overrides)
    given = mapping.get("data") or {}
    if isinstance(given, dict) and "path" not in given:
        mapping = {**mapping, "data": {**given, "path": _NO_DATA}}
    config = validate(PretrainConfig, mapping, path)
    assumed = []
    tokens = config.train.tokens
    if config.data.path != _NO_DATA and Path(config.data.path).exists():
        data = open_data(config.data.path)
        vocab_size = vocab_size or data.vocab_size
        if config.train.epochs is not None and len(data.sources) == 1:
            length = config.model.sequence_length
            windows = (data.sources[0].manifest.splits["train"].tokens - 1) // length
            tokens = math.ceil(config.train.epochs * windows) * length
    elif vocab_size is None:
        why = "no data.path" if config.data.path == _NO_DATA else f"there is no dataset at {config.data.path}"
        assumed.append(f"{GPT2_IDS:,} token ids, those of GPT-2 ({why}; --vocab-size gives another number)")
    if tokens is None:
        assumed.append("no length: train.epochs needs the dataset (data.path), or give train.tokens")
    return Inputs(config, config.cluster or ClusterConfig(), vocab_size or GPT2_IDS, tokens, assumed)
