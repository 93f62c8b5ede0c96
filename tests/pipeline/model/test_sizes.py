from typing import Any

import pytest
import torch
from small_model import model_config

from pipeline.config.schema import ModelConfig
from pipeline.model.gpt import GPT
from pipeline.model.sizes import flops_per_token, parameter_count

GPT1 = {"n_layer": 12, "n_head": 12, "d_model": 768, "sequence_length": 512, "norm": "post"}


def gpt2(n_layer: int, d_model: int, n_head: int) -> dict[str, Any]:
    return {"n_layer": n_layer, "n_head": n_head, "d_model": d_model, "sequence_length": 1024}


def gpt3(n_layer: int, d_model: int, n_head: int, d_head: int | None = None) -> dict[str, Any]:
    return {"n_layer": n_layer, "n_head": n_head, "d_model": d_model, "d_head": d_head, "sequence_length": 2048}


GOLDEN = [
    ("gpt1", GPT1, 40_478, 116_534_784),
    ("gpt2 small", gpt2(12, 768, 12), 50_257, 124_439_808),
    ("gpt2 small, padded", gpt2(12, 768, 12), 50_304, 124_475_904),
    ("gpt2 medium", gpt2(24, 1024, 16), 50_257, 354_823_168),
    ("gpt2 large", gpt2(36, 1280, 20), 50_257, 774_030_080),
    ("gpt2 xl", gpt2(48, 1600, 25), 50_257, 1_557_611_200),
    ("gpt3 small", gpt3(12, 768, 12), 50_257, 125_226_240),
    ("gpt3 medium", gpt3(24, 1024, 16), 50_257, 355_871_744),
    ("gpt3 large", gpt3(24, 1536, 16), 50_257, 760_300_032),
    ("gpt3 xl", gpt3(24, 2048, 16), 50_257, 1_315_723_264),
    ("gpt3 xl as printed", gpt3(24, 2048, 24, 128), 50_257, 1_517_123_584),
    ("gpt3 2.7b", gpt3(32, 2560, 32), 50_257, 2_651_553_280),
    ("gpt3 6.7b", gpt3(32, 4096, 32), 50_257, 6_658_404_352),
    ("gpt3 13b", gpt3(40, 5120, 40), 50_257, 12_853_386_240),
    ("gpt3 13b as printed", gpt3(40, 5140, 40, 128), 50_257, 12_936_488_380),
    ("gpt3 175b", gpt3(96, 12288, 96), 50_257, 174_604_259_328),
]


@pytest.mark.parametrize(("name", "shape", "vocab_size", "expected"), GOLDEN, ids=[name for name, *_ in GOLDEN])
def test_published_shapes_have_their_parameters(
    name: str, shape: dict[str, Any], vocab_size: int, expected: int
) -> None:
    assert parameter_count(ModelConfig.model_validate(shape), vocab_size) == expected


@pytest.mark.parametrize(
    ("name", "shape", "vocab_size", "expected"),
    [case for case in GOLDEN if case[0] in ("gpt1", "gpt2 small", "gpt3 xl as printed", "gpt3 13b as printed")],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_module_has_as_many_as_the_formula(
    name: str, shape: dict[str, Any], vocab_size: int, expected: int
) -> None:
    with torch.device("meta"):
        module = GPT(ModelConfig.model_validate(shape), vocab_size)
    assert sum(p.numel() for p in module.parameters()) == expected


def test_flops_are_those_of_the_causal_convention() -> None:
    # GPT-2 124M: 6 N + 6 L d T.
    config = ModelConfig.model_validate(gpt2(12, 768, 12))
    assert flops_per_token(config, 50_257) == 6 * 124_439_808 + 6 * 12 * 768 * 1024
    narrow = model_config(n_head=2, d_head=4)
    assert flops_per_token(narrow, 50) == 6 * parameter_count(narrow, 50) + 6 * 2 * 8 * 16
