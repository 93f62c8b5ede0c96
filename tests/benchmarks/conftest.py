from __future__ import annotations

import os
import platform
from importlib.metadata import version

import pytest
from measure import Row

ROWS = pytest.StashKey[list[Row]]()
PACKAGES = ("torch", "deepspeed", "numpy", "zstandard", "pyarrow")


@pytest.fixture
def table(request: pytest.FixtureRequest) -> list[Row]:
    """Rows added here are printed at the end."""
    return request.config.stash.setdefault(ROWS, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash.get(ROWS, [])
    if not rows:
        return
    terminalreporter.section("benchmarks")
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    load = os.getloadavg()[0]
    terminalreporter.line(f"{os.cpu_count()} cores, load {load:.1f}; Python {platform.python_version()}, {versions}")
    terminalreporter.line("")
    terminalreporter.line("| what | ours | floor or peer | ratio | notes |")
    terminalreporter.line("| --- | --- | --- | --- | --- |")
    for row in rows:
        terminalreporter.line(f"| {row.name} | {row.ours} | {row.peer} | {row.ratio} | {row.notes} |")
