from pathlib import Path

import pytest
import torch
from small_model import model_config

from data_prep.configfile import load
from data_prep.errors import UserError
from pipeline.config.model import ModelConfig
from pipeline.config.schema import PretrainConfig
from pipeline.model.gpt import GPT
from pipeline.model.sizes import flops_per_token, parameter_count

CONFIGS = Path(__file__).parents[3] / "configs" / "pretrain"
GPT2_IDS, GPT1_IDS = 50_257, 40_478
GOLDEN = [
    ("gpt1", [], GPT1_IDS, 116_534_784),
    ("gpt2-124m", [], GPT2_IDS, 124_439_808),
    ("gpt2-124m", [], 50_304, 124_475_904),
    ("gpt2-355m", [], GPT2_IDS, 354_823_168),
    ("gpt2-774m", [], GPT2_IDS, 774_030_080),
    ("gpt2-1558m", [], GPT2_IDS, 1_557_611_200),
    ("gpt3-small", [], GPT2_IDS, 125_226_240),
    ("gpt3-medium", [], GPT2_IDS, 355_871_744),
    ("gpt3-large", [], GPT2_IDS, 760_300_032),
    ("gpt3-xl", [], GPT2_IDS, 1_315_723_264),
    ("gpt3-xl", ["model.as_printed=true"], GPT2_IDS, 1_517_123_584),
    ("gpt3-2.7b", [], GPT2_IDS, 2_651_553_280),
    ("gpt3-6.7b", [], GPT2_IDS, 6_658_404_352),
    ("gpt3-13b", [], GPT2_IDS, 12_853_386_240),
    ("gpt3-13b", ["model.as_printed=true"], GPT2_IDS, 12_936_488_380),
    ("gpt3-175b", [], GPT2_IDS, 174_604_259_328),
    # 40,478 x 768; 4 x 2048 x (768 + 2048) + 8 x 2048; 2048 x 768 + 768
    ("lstm", [], GPT1_IDS, 31_087_104 + 23_085_056 + 1_573_632),
]
IDS = ["-".join([name, *(["as-printed"] if extra else []), str(size)]) for name, extra, size, _ in GOLDEN]


def recipe(name: str, *overrides: str) -> PretrainConfig:
    return load(str(CONFIGS / f"{name}.yaml"), PretrainConfig, ["data.path=shards", *overrides])


@pytest.mark.parametrize(("name", "overrides", "vocab_size", "expected"), GOLDEN, ids=IDS)
def test_published_shapes_have_their_parameters(
    name: str, overrides: list[str], vocab_size: int, expected: int
) -> None:
    config = recipe(name, *overrides).model
    assert parameter_count(config, vocab_size) == expected
    with torch.device("meta"):
        module = GPT(config, vocab_size)
    padding = (config.padded(vocab_size) - vocab_size) * config.d_model
    assert sum(p.numel() for p in module.parameters()) - padding == expected


def test_every_recipe_is_in_the_golden_table() -> None:
    recipes = {path.stem for path in CONFIGS.glob("*.yaml") if not path.stem.startswith(("base-", "demo"))}
    recipes -= {"gpt1-zero-shot", "lstm-zero-shot"}  # models that are there, scored in training
    assert recipes == {name for name, *_ in GOLDEN}
    assert len(recipes - {"lstm"}) == 13


@pytest.mark.parametrize("name", sorted({name for name, *_ in GOLDEN}))
def test_a_recipe_asks_for_its_data_and_says_what_it_is_from(name: str) -> None:
    with pytest.raises(UserError, match=r"data\.path is missing.*set data\.path"):
        load(str(CONFIGS / f"{name}.yaml"), PretrainConfig)
    config = recipe(name)
    assert config.run.name == name
    copies = 8 // config.parallel.tensor if config.parallel.pipeline == 1 else 8
    assert config.train.global_batch % (config.train.micro_batch * copies) == 0  # runs on a node of 8


def test_recipes_cite_every_value() -> None:
    """Each number of a model, an optimizer, a schedule or a batch says where it comes from."""
    sources = ("GPT-1", "GPT-2", "GPT-3", "community", "ours")
    cited = {"model", "train", "optimizer", "schedule", "precision"}
    for path in sorted(set(CONFIGS.glob("*.yaml")) - set(CONFIGS.glob("demo*"))):
        section = ""
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line and not line[0].isspace() and not line.startswith("#"):
                section = line.partition(":")[0]
            value = line.partition("#")[0].rstrip()
            plain = (
                not value or value.endswith(":") or value.strip().startswith(("log_every", "n_head: 0", "kind: lstm"))
            )
            if section in cited and not plain:
                assert any(source in line.partition("#")[2] for source in sources), f"{path.name}:{number}: {line}"


@pytest.mark.parametrize(
    ("name", "causal", "full"),
    # GPT-2 as llm.c and nanoGPT count: 6 N + 6 L d T and 6 N + 12 L d T.
    [("gpt2-124m", 803_261_952, 859_885_056), ("gpt2-1558m", 9_817_552_800, 10_289_438_400)],
)
def test_flops_of_both_conventions(name: str, causal: int, full: int) -> None:
    config = recipe(name).model
    assert (
        flops_per_token(config, GPT2_IDS)
        == flops_per_token(config, GPT2_IDS, "causal")
        == pytest.approx(causal, rel=1e-3)
    )
    assert flops_per_token(config, GPT2_IDS, "full") == pytest.approx(full, rel=1e-3)
    d_t = config.n_layer * config.d_model * config.sequence_length
    assert flops_per_token(config, GPT2_IDS, "full") - flops_per_token(config, GPT2_IDS) == 6 * d_t


def test_an_lstm_has_no_attention_flops() -> None:
    config: ModelConfig = model_config(kind="lstm", n_head=0)
    assert flops_per_token(config, 50) == flops_per_token(config, 50, "full") == 6 * parameter_count(config, 50)
