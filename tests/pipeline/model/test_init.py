import hashlib
import math
import platform

import pytest
import torch
from small_model import model_config

from pipeline.config.schema import ModelConfig
from pipeline.model.gpt import GPT
from pipeline.model.init import initial_value, initialize, keyed_generator, parameter_std

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
        ("post", "transformer.wpe.weight", 0.02),
    ],
)
def test_standard_deviations(norm: str, name: str, std: float) -> None:
    position_std = 0.01 if norm == "pre" else 0.02  # the recipes of GPT-2 and GPT-1
    config = model_config(n_layer=3, d_model=64, sequence_length=64, norm=norm, position_std=position_std)
    assert parameter_std(name, config) == pytest.approx(std)
    value = weights(config, vocab_size=100)[name]
    assert value.std().item() == pytest.approx(std, rel=0.05)
    assert abs(value.mean().item()) < 4 * std / math.sqrt(value.numel())


def test_generators_of_two_names_differ() -> None:
    draws = [torch.rand(4, generator=keyed_generator(1, name)) for name in ("a", "b", "a")]
    assert torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[1])


# sha256 of float32 bytes. A change of any of these changes what every run starts from.
HASHES = {
    "gpt": {
        "transformer.wte.weight": "3dd4b6dd2f9352a0",
        "transformer.wpe.weight": "fa08b5a244ccb54d",
        "transformer.h.0.ln_1.weight": "9628e545ed3ac074",
        "transformer.h.0.ln_1.bias": "f5a5fd42d16a2030",
        "transformer.h.0.attn.c_attn.weight": "b28afc1563f6ce59",
        "transformer.h.0.attn.c_attn.bias": "5d89f056865052bc",
        "transformer.h.0.attn.c_proj.weight": "52c0ba00b9b1dff4",
        "transformer.h.0.mlp.c_fc.weight": "c19433753e7af9b8",
        "transformer.h.0.mlp.c_proj.weight": "8c1a206c332ffe9e",
        "transformer.ln_f.weight": "9628e545ed3ac074",
    },
    "gpt1": {
        "transformer.wte.weight": "3dd4b6dd2f9352a0",
        "transformer.wpe.weight": "1a56c91a3fc7c7b4",
        "transformer.h.0.attn.c_proj.weight": "2b1ab3ecd9146514",
        "transformer.h.0.mlp.c_proj.weight": "b15980c1e5442338",
    },
    "lstm": {
        "transformer.h.0.lstm.weight_ih_l0": "f8d83abc6b012b2c",
        "transformer.h.0.lstm.weight_hh_l0": "1ffd63eff88c9325",
        "transformer.h.0.lstm.bias_ih_l0": "a1a4f5721c1c4610",
        "transformer.proj.weight": "960a7e4fafd87ffa",
    },
}
SHAPES = {
    "gpt": {},
    "gpt1": {"norm": "post", "position_std": 0.02},
    "lstm": {"kind": "lstm", "n_head": 0, "n_layer": 1, "units": 24},
}


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="torch draws other last bits elsewhere")
@pytest.mark.parametrize("kind", HASHES)
def test_golden_hashes(kind: str) -> None:
    found = weights(model_config(**SHAPES[kind]))
    hashes = {name: hashlib.sha256(found[name].numpy().tobytes()).hexdigest()[:16] for name in HASHES[kind]}
    assert hashes == HASHES[kind]


@pytest.mark.parametrize("multiple", [1, 16, 7])
def test_padding_does_not_change_what_is_drawn(multiple: int) -> None:
    plain, padded = weights(model_config()), weights(model_config(vocab_multiple=multiple))
    for name, value in plain.items():
        assert torch.equal(padded[name][: len(value)], value), name
        assert not padded[name][len(value) :].any()


def test_the_initial_value_of_a_parameter_can_be_had_alone() -> None:
    config = model_config()
    for name, value in weights(config).items():
        assert torch.equal(initial_value(name, value.shape, config, 3), value), name
