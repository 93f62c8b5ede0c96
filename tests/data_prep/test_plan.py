from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest
import small_web

from data_prep import configfile
from data_prep import plan as planning
from data_prep.config import DataConfig
from data_prep.errors import UserError
from data_prep.sample_input import InputSample


def settings(finished_config: Path, *overrides: str) -> DataConfig:
    return configfile.load(str(finished_config), DataConfig, list(overrides))


@pytest.fixture(scope="module")
def whole(finished_config: Path, tmp_path_factory: pytest.TempPathFactory) -> planning.Plan:
    root = tmp_path_factory.mktemp("plan") / "not" / "made"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("temporary")))
        found = planning.plan(settings(finished_config, f"root={root}"))
        assert not list(Path(tempfile.gettempdir()).iterdir())
    assert not root.parent.exists()
    return found


def test_a_sample_that_is_everything_gives_the_exact_funnel(whole: planning.Plan) -> None:
    stages = {stage.stage: stage for stage in whole.stages}
    assert (stages["filter"].rows_in, stages["filter"].rows_out) == (90, 89)
    assert stages["near-dedup"].rows_out == small_web.PAGES
    assert all(stage.exact for stage in whole.stages)
    assert whole.linked is None
    assert whole.tokens is not None


def test_the_tasks_are_those_of_the_real_run(whole: planning.Plan, finished_config: Path) -> None:
    root = finished_config.parent / "root"
    real = {path.parent.name: len(json.loads(path.read_text())["tasks"]) for path in root.glob("*/plan.json")}
    assert {stage.stage: stage.tasks for stage in whole.stages} == real


def test_disk_and_time_are_known(whole: planning.Plan) -> None:
    assert whole.free is not None
    assert whole.bytes > 0
    assert whole.core_hours > 0


def test_a_part_of_the_input_is_scaled(finished_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web = finished_config.parent / "web"
    dump = web / "RS_small"
    half = dump.stat().st_size // 2

    def cut(path: str, target: str, length: int) -> int:
        # From all over the dump, as the pages lie in the archives in its order.
        lines = Path(path).read_bytes().splitlines(keepends=True)
        found = b"".join(line for i, line in enumerate(lines) if i % 4 < 2)
        Path(target).write_bytes(found)
        return len(found)

    # The reader of dumps takes a mebibyte at a time, more than there is here.
    monkeypatch.setattr(planning.sample_input, "cut_dump", cut)
    found = planning.plan(settings(finished_config), half)
    stages = {stage.stage: stage for stage in found.stages}
    assert stages["submissions"].rows_in == pytest.approx(96, rel=0.1)
    assert not stages["submissions"].exact
    # Every page of the sampled archives gets a link, and the share that has one is estimated.
    assert found.linked is not None
    share, low, high = found.linked
    assert 0 < low < share <= high == 1
    assert share > 0.8  # 90 of the 95 pages
    assert stages["pages"].rows_out == pytest.approx(share * 95, rel=0.1)
    assert stages["pages"].tasks == 2
    assert any("duplicates grow faster" in warning for warning in found.warnings)


def test_the_share_of_linked_pages_and_its_interval() -> None:
    inputs = {"dumps": InputSample(("a",), 1, 1000, 100)}
    found = planning._linked(inputs, (500, 10))
    assert found is not None
    share, low, high = found
    assert share == pytest.approx(10 / (500 * 0.1))
    assert low == pytest.approx(5.43 / 50, rel=0.01)  # the score interval of a count of 10 is 5.43 to 18.4
    assert high == pytest.approx(18.4 / 50, rel=0.01)
    none = planning._linked(inputs, (500, 0))
    assert none is not None
    assert none[:2] == (0.0, pytest.approx(0.0, abs=1e-3))
    assert 3 / 50 < none[2] < 4 / 50
    assert planning._linked(inputs, (0, 0)) is None


def test_missing_inputs_are_warnings_as_long_as_there_is_a_dump(finished_config: Path) -> None:
    os.environ.pop("NOT_SET_HERE", None)
    found = planning.plan(settings(finished_config, 'inputs.archives=["${NOT_SET_HERE}/*.warc.gz"]'))
    stages = {stage.stage: stage for stage in found.stages}
    assert (stages["links"].rows_out, stages["links"].tasks) == (90, 3)
    assert (stages["addresses"].tasks, stages["addresses"].core_hours) == (None, None)
    assert "NOT_SET_HERE" in found.warnings[0]
    assert any("not estimated from the stage addresses on: no archives" in warning for warning in found.warnings)
    with pytest.raises(UserError, match=r"no file matches '/nowhere/RS_\*'.*needs a dump"):
        planning.plan(settings(finished_config, "inputs.dumps=[/nowhere/RS_*]"))


def test_a_sample_that_leaves_nothing_says_where(finished_config: Path) -> None:
    found = planning.plan(settings(finished_config, "filter.length.min_chars=100000"))
    stages = {stage.stage: stage for stage in found.stages}
    assert stages["pages"].rows_out == 90
    assert stages["near-dedup"].core_hours is None
    assert any("nothing is left after the stage filter" in warning for warning in found.warnings)


def test_too_little_disk_is_a_warning(finished_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "_free", lambda root: 10)
    found = planning.plan(settings(finished_config, "inputs.archives=[/nowhere/*.gz]"))
    assert any("0.0 GB are free under the root" in warning for warning in found.warnings)


def test_json_is_plain_data(whole: planning.Plan) -> None:
    data = json.loads(json.dumps(whole.as_json()))
    assert data["stages"][0]["stage"] == "submissions"
    assert data["inputs"]["dumps"]["files"] == 1
