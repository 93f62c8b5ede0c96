from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from pipeline.config.schema import ProfileConfig
from pipeline.distributed import World
from pipeline.train.profile import ProfileWindow

CPU = torch.device("cpu")


def run(config: ProfileConfig | None, folder: Path, rank: int = 0, steps: int = 6, first: int = 1) -> list[str]:
    said: list[str] = []
    with ProfileWindow(config, folder, World(rank, 2, rank, CPU), said.append) as window:
        for step in range(first, steps + 1):
            window.before(step)
            torch.ones(step + 20, 3) @ torch.ones(3, 2)
            window.after(step)
    return said


def shapes(trace: Path) -> list[int]:
    """Rows of the matrix products in a trace."""
    events = json.loads(trace.read_text())["traceEvents"]
    return sorted(event["args"]["Input Dims"][0][0] for event in events if event.get("name") == "aten::mm")


def test_the_configured_steps_are_in_the_trace(tmp_path: Path) -> None:
    said = run(ProfileConfig(start=2, steps=3), tmp_path)
    assert [path.name for path in (tmp_path / "profile").iterdir()] == ["steps_3-5.json"]
    assert shapes(tmp_path / "profile" / "steps_3-5.json") == [23, 24, 25]
    assert "profile of steps 3-5" in said[0]


def test_a_run_that_ends_or_resumes_inside_gives_what_it_has(tmp_path: Path) -> None:
    run(ProfileConfig(start=4, steps=10, memory=True), tmp_path)
    assert shapes(tmp_path / "profile" / "steps_5-6.json") == [25, 26]
    said = run(ProfileConfig(start=0, steps=5, memory=True), tmp_path, first=4)
    assert shapes(tmp_path / "profile" / "steps_4-5.json") == [24, 25]
    assert "there is no GPU" in said[0]


@pytest.mark.parametrize(
    ("config", "rank", "first"), [(None, 0, 1), (ProfileConfig(), 1, 1), (ProfileConfig(start=1, steps=1), 0, 3)]
)
def test_nothing_is_written_without_a_window(
    tmp_path: Path, config: ProfileConfig | None, rank: int, first: int
) -> None:
    assert run(config, tmp_path, rank, first=first) == []
    assert list(tmp_path.iterdir()) == []
