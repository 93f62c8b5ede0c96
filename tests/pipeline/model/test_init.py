import math

import pytest
import torch
from small_model import model_config

from pipeline.config.schema import ModelConfig
from pipeline.model.gpt import GPT
from pipeline.model.init import initialize, keyed_generator, parameter_std

GOLDEN = {
    "transformer.wte.weight": [-0.040753, 0.01746048, 0.05607556],
    "transformer.wpe.weight": [0.00473497, 0.00269428, -0.00960732],
    "transformer.h.1.mlp.c_proj.weight": [-0.01987588, -0.01093189, 0.00055634],
}


def weights(config: ModelConfig, seed: int = 3, vocab_size: int = 50) -> dict[str, torch.Tensor]:
    model = GPT(config, vocab_size)
    initialize(model, config, seed)
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def test_weights_depend_on_seed_and_name_alone() -> None:
    small, deep = weights(model_config()), weights(model_config(n_layer=4, norm="post"))
    torch.manual_seed(99)
    torch.rand(7)
    again = weights(model_config())
    assert all(torch.equal(small[name], again[name]) for name in small)
    assert torch.equal(small["transformer.h.1.attn.c_attn.weight"], deep["transformer.h.1.attn.c_attn.weight"])
    other = weights(model_config(), seed=4)
    assert not torch.equal(small["transformer.wte.weight"], other["transformer.wte.weight"])
    assert not torch.equal(small["transformer.h.0.mlp.c_fc.weight"], small["transformer.h.1.mlp.c_fc.weight"])


def test_golden_values() -> None:
    found = weights(model_config())
    first = {name: found[name].flatten()[:3] for name in GOLDEN}
    for name, values in GOLDEN.items():
        torch.testing.assert_close(first[name], torch.tensor(values), rtol=0, atol=1e-6, msg=f"{name}: {first[name]}")


def test_gains_are_one_and_biases_zero() -> None:
    for name, value in weights(model_config()).items():
        if value.ndim == 1:
            assert torch.equal(value, torch.full_like(value, 0.0 if name.endswith("bias") else 1.0)), name


@pytest.mark.parametrize(
    ("norm", "name", "std"),
    [
        ("pre", "transformer.wte.weight", 0.02),
        ("pre", "transformer.wpe.weight", 0.01),
        ("pre", "transformer.h.0.attn.c_attn.weight", 0.02),
        ("pre", "transformer.h.0.mlp.c_fc.weight", 0.02),
        ("pre", "transformer.h.0.attn.c_proj.weight", 0.02 / math.sqrt(6)),  # GPT-2 2.3 with N = 2 x 3 residual layers
        ("pre", "transformer.h.2.mlp.c_proj.weight", 0.02 / math.sqrt(6)),
        ("post", "transformer.h.0.attn.c_proj.weight", 0.02),
    ],
)
def test_standard_deviations(norm: str, name: str, std: float) -> None:
    config = model_config(n_layer=3, d_model=64, sequence_length=64, norm=norm)
    assert parameter_std(name, config) == pytest.approx(std)
    value = weights(config, vocab_size=100)[name]
    assert value.std().item() == pytest.approx(std, rel=0.05)
    assert abs(value.mean().item()) < 4 * std / math.sqrt(value.numel())


def test_generators_of_two_names_differ() -> None:
    draws = [torch.rand(4, generator=keyed_generator(1, name)) for name in ("a", "b", "a")]
    assert torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[1])
