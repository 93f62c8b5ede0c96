"""Stages on Ray: the bytes, the errors and the deaths of the local executor."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
from stage_examples import numbers_stage
from test_runner import files, inputs
from typer.testing import CliRunner

from data_prep.cli import application
from data_prep.errors import UserError
from data_prep.runner import run_stage

INSTALLED = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not INSTALLED, reason="Ray is not installed: pip install -e '.[ray]'")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    import ray

    from data_prep.ray_executor import connect

    with pytest.MonkeyPatch.context() as patch:
        here = Path(__file__).parent
        patch.setenv("PYTHONPATH", f"{here.parents[1]}:{here}")  # as workers of an installed package find its stages
        assert connect() >= 1
        yield
        ray.shutdown()


@needs_ray
@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_same_bytes_as_local_for_the_tasks_that_are_left(tmp_path: Path) -> None:
    given = inputs(tmp_path, "1 2", "3 -4", "5")
    local, mine = (numbers_stage(str(tmp_path / name), given) for name in ("local", "ray"))
    first = run_stage(local, workers=2)
    assert run_stage(mine, workers=2, executor="ray") == first
    assert files(mine.folder) == files(local.folder)
    path = Path(mine.folder, "part-00002.parquet")
    path.write_bytes(path.read_bytes()[:-1])
    before = {p: p.stat().st_ino for p in Path(mine.folder).glob("part-*")}
    said: list[str] = []
    assert run_stage(mine, workers=2, say=said.append, executor="ray") == first
    assert said[0] == "numbers: continuing, 2 of 3 tasks are complete"
    assert [p.name for p, inode in before.items() if p.stat().st_ino != inode] == [path.name]
    assert files(mine.folder) == files(local.folder)


@needs_ray
@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_failures_are_those_of_the_local_executor(tmp_path: Path) -> None:
    given = inputs(tmp_path, "1", "2 bad", "kill", f"7 kill-once:{tmp_path / 'flag'}")
    stage = numbers_stage(str(tmp_path / "out"), given)
    with pytest.raises(UserError) as error:
        run_stage(stage, workers=2, executor="ray")
    assert str(error.value) == f"{given[1]}: a bad line (1 more tasks failed: [2]); mend it"
    done = sorted(p.name for p in Path(stage.folder, "tasks").iterdir())
    assert done == ["00000.json", "00003.json"]
    # Mended: what was said about the bad file before is forgotten.
    Path(given[1]).write_text("2")
    Path(given[2]).write_text("bug")
    with pytest.raises(RuntimeError, match="stage numbers, task 2 failed; its log: ") as crash:
        run_stage(numbers_stage(stage.folder, given), workers=2, executor="ray")
    assert "a bug" in Path(str(crash.value).partition("its log: ")[2]).read_text()


def test_without_ray_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "ray" else find_spec(name, *a))
    config = tmp_path / "c.yaml"
    config.write_text(f"name: x\nroot: {tmp_path}/r\ninputs: {{dumps: [/nowhere/RS_*], archives: [/nowhere/a]}}\n")
    for command in ("run", "links"):
        result = CliRunner().invoke(application(), [command, str(config), "--executor", "ray"])
        assert result.exit_code == 2
        assert result.stderr == "error: --executor ray: Ray is not installed; run `pip install -e '.[ray]'`\n"
    assert not (tmp_path / "r").exists()
