import pytest

from pipeline.config.schema import FinetuneScheduleConfig, PretrainScheduleConfig
from pipeline.train.schedule import learning_rate

COSINE = PretrainScheduleConfig(kind="cosine", warmup_tokens=100, decay_tokens=1100, final_ratio=0.1)


@pytest.mark.parametrize(
    ("consumed", "expected"),
    [
        (1, 0.01),
        (50, 0.5),
        (99, 0.99),
        (100, 1.0),
        (350, 0.868198),
        (600, 0.55),
        (850, 0.231802),
        (1100, 0.1),
        (5000, 0.1),
    ],
)
def test_cosine_at_named_points(consumed: int, expected: float) -> None:
    assert learning_rate(consumed, 1.0, COSINE, 9999) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("consumed", "expected"), [(5, 1.0), (10, 2.0), (55, 1.0), (100, 0.0)])
def test_linear_over_the_run(consumed: int, expected: float) -> None:
    schedule = FinetuneScheduleConfig(kind="linear", warmup_share=0.1, final_ratio=0.0)
    assert learning_rate(consumed, 2.0, schedule, 100) == pytest.approx(expected)


@pytest.mark.parametrize(("consumed", "expected"), [(5, 0.5), (10, 1.0), (99, 1.0)])
def test_constant(consumed: int, expected: float) -> None:
    schedule = PretrainScheduleConfig(kind="constant", warmup_tokens=10)
    assert learning_rate(consumed, 1.0, schedule, 100) == expected


def test_without_decay_tokens_the_decay_ends_with_the_run() -> None:
    schedule = PretrainScheduleConfig(kind="cosine", final_ratio=0.2)
    assert learning_rate(500, 1.0, schedule, 500) == pytest.approx(0.2)
    assert learning_rate(250, 1.0, schedule, 500) == pytest.approx(0.6)


def test_a_run_that_is_all_warmup() -> None:
    schedule = PretrainScheduleConfig(kind="cosine", warmup_tokens=500)
    assert learning_rate(250, 1.0, schedule, 500) == 0.5
    assert learning_rate(500, 1.0, schedule, 500) == pytest.approx(1.0)


GPT3 = PretrainScheduleConfig(kind="cosine", warmup_tokens=375_000_000, decay_tokens=260 * 10**9, final_ratio=0.1)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (0, 0.0),
        (375_000_000 // 2, 0.3e-4),
        (375_000_000, 0.6e-4),
        (4 * 10**9, 0.5997e-4),
        ((375_000_000 + 260 * 10**9) // 2, 0.33e-4),
        (260 * 10**9, 0.06e-4),
        (300 * 10**9, 0.06e-4),
    ],
)
def test_gpt3_175b_at_named_token_counts(tokens: int, expected: float) -> None:
    """GPT-3 B and table 2.1: peak 0.6e-4, warm-up over 375M tokens, cosine to 10 % at 260B, constant to 300B."""
    assert learning_rate(tokens, 0.6e-4, GPT3, 300 * 10**9) == pytest.approx(expected, rel=1e-4)


def test_gpt1_warms_up_over_2000_updates() -> None:
    """GPT-1 4.1: linearly from zero over the first 2,000 updates to 2.5e-4, then cosine to 0; 64 x 512 tokens each."""
    update, total = 64 * 512, 100 * 30_000 * 512
    schedule = PretrainScheduleConfig(kind="cosine", warmup_tokens=2000 * update, final_ratio=0.0)
    rates = [learning_rate(n * update, 2.5e-4, schedule, total) for n in (0, 1, 1000, 2000, 2001)]
    assert rates[:4] == pytest.approx([0.0, 1.25e-7, 1.25e-4, 2.5e-4])
    assert rates[4] < rates[3]
    assert learning_rate(total, 2.5e-4, schedule, total) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("consumed", "expected"), [(50, 0.5), (100, 1.0), (800, 1.0), (900, 0.6), (1000, 0.2), (5000, 0.2)]
)
def test_wsd_stays_at_its_peak_and_decays_at_the_end(consumed: int, expected: float) -> None:
    schedule = PretrainScheduleConfig(
        kind="wsd", warmup_tokens=100, decay_tokens=1000, decay_share=0.2, final_ratio=0.2
    )
    assert learning_rate(consumed, 1.0, schedule, 9999) == pytest.approx(expected)


@pytest.mark.parametrize("settings", [{"kind": "wsd"}, {"kind": "cosine", "decay_share": 0.1}])
def test_a_decay_share_belongs_to_wsd(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match='decay_share belongs to kind "wsd"'):
        PretrainScheduleConfig.model_validate(settings)
