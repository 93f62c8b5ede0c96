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
