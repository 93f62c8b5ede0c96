import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.schema import BatchRampConfig
from pipeline.train.batch_schedule import BatchSchedule

CONTEXT = 2048
GPT3 = BatchSchedule(1600, 1, CONTEXT, BatchRampConfig(start=16, tokens=4 * 10**9))
"""GPT-3 175B (table 2.1, B): from 32k to 3.2M tokens, here over 4 billion."""


@pytest.mark.parametrize(
    ("consumed", "samples"),
    [
        (0, 16),
        (375_000_000, 165),  # 16 + 1584 x 0.09375 = 164.5
        (2 * 10**9, 808),
        (4 * 10**9 - CONTEXT, 1600),
        (4 * 10**9, 1600),
        (260 * 10**9, 1600),
        (300 * 10**9, 1600),
    ],
)
def test_gpt3_175b_at_named_token_counts(consumed: int, samples: int) -> None:
    assert GPT3.samples(consumed) == samples


def test_the_steps_of_a_ramp_are_as_many_as_the_line_says() -> None:
    """db/dstep = (b - b0) b / R integrates to R ln(b / b0) / (b - b0) steps, with batches in tokens."""
    first, full = 16 * CONTEXT, 1600 * CONTEXT
    expected = 4 * 10**9 * math.log(full / first) / (full - first)
    assert expected == pytest.approx(5678, abs=1)
    assert len(list(GPT3.steps(300 * 10**9))) == pytest.approx(expected, rel=0.002)
    # In passes of 64 samples, of which the first batches need one whole.
    coarse = BatchSchedule(1600, 64, CONTEXT, GPT3.ramp)
    assert coarse.samples(0) == 64
    raised = 4 * 10**9 * math.log(1600 / 64) / (full - first)
    assert raised * 0.95 < len(list(coarse.steps(300 * 10**9))) < expected


def test_without_a_ramp_every_step_is_full() -> None:
    plain = BatchSchedule(12, 4, 16)
    assert [plain.samples(n) for n in (0, 100, 10**12)] == [12, 12, 12]
    assert plain.length(7 * 192 + 1) == (8, 8 * 192)
    assert plain.whole_steps(7 * 192 + 1) == 8 * 192
    assert plain.describe(10**6) is None


def test_the_floor_is_said() -> None:
    ramp = BatchRampConfig(start=2, tokens=1000)
    line = BatchSchedule(64, 8, 1, ramp).describe(10**4)
    assert line is not None
    assert "8 to 64 samples over 1,000 tokens" in line
    assert "smallest batch (train.batch_ramp.start 2 is less)" in line
    assert "is less" not in str(BatchSchedule(64, 2, 1, ramp).describe(10**4))


@given(
    per_pass=st.integers(1, 9),
    passes=st.integers(1, 40),
    start=st.integers(1, 400),
    tokens=st.integers(1, 10**6),
    length=st.integers(1, 50),
    units=st.integers(1, 2 * 10**6),
)
def test_a_ramp_of_any_shape(per_pass: int, passes: int, start: int, tokens: int, length: int, units: int) -> None:
    full = per_pass * passes
    batches = BatchSchedule(full, per_pass, length, BatchRampConfig(start=min(start, full), tokens=tokens))
    at = [batches.samples(consumed) for consumed in range(0, tokens + tokens // 50 + 2, tokens // 50 + 1)]
    assert at == sorted(at)
    assert all(per_pass <= samples <= full and samples % per_pass == 0 for samples in at)
    for consumed, samples in zip(range(0, tokens, tokens // 50 + 1), at, strict=False):
        line = min(start, full) + (full - min(start, full)) * consumed / tokens
        assert abs(samples - max(line, per_pass)) <= per_pass / 2 + 1e-6
    assert batches.samples(tokens) == full
    # The run ends with the first step that reaches its length.
    steps, consumed, last = 0, 0, 0
    while consumed < units:
        last = consumed
        consumed += batches.samples(consumed) * length
        steps += 1
        if steps > 3000:
            return
    assert batches.length(units) == (steps, consumed)
    assert last < units
