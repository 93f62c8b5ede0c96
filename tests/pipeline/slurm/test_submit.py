from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from data_prep.configfile import load
from data_prep.errors import UserError
from pipeline.chain import ChainConfig, Step, steps
from pipeline.commands import HOME
from pipeline.slurm import submit
from pipeline.slurm.queue import Job
from pipeline.slurm.submit import Places, environment, find_out, sbatch_line


def step(name: str, *after: str, kind: str = "pretrain", complete: bool = False) -> Step:
    settings = ("c.yaml", f"run.name={name}") if kind != "compare" else ()
    return Step(kind, name, name, ("python", "x.py", name), lambda: complete, after, settings, 2)  # type: ignore[arg-type]


def chain(root: Path, **slurm: object) -> ChainConfig:
    data = {"root": str(root), "data": {"config": "d.yaml"}, "pretrain": [{"config": "p.yaml"}], "slurm": slurm}
    return ChainConfig.model_validate(data)


STEPS = [
    step("data", kind="data"),
    step("one", "data"),
    step("two", "data"),
    step("tune", "one"),
    step("compare", "data", "one", "two", "tune", kind="compare"),
]


def states(complete: set[str], queued: set[str] = frozenset()) -> dict[str, tuple[str, tuple[str, ...]]]:  # type: ignore[assignment]
    jobs = {name: Job("7", "RUNNING", "None", "0:01", "") for name in queued}
    return {
        item.step.name: (item.state, item.after) for item in find_out(STEPS, jobs, lambda one: one.name in complete)
    }


def test_a_new_chain_is_submitted_as_a_graph() -> None:
    assert states(set()) == {
        "data": ("submit", ()),
        "one": ("submit", ("data",)),
        "two": ("submit", ("data",)),
        "tune": ("submit", ("one",)),
        "compare": ("submit", ("data", "one", "two", "tune")),
    }


def test_what_is_complete_or_queued_is_left_alone() -> None:
    everything = {one.name for one in STEPS}
    assert {state for state, _ in states(everything).values()} == {"complete"}
    assert states({"data", "one"}, {"two"}) == {
        "data": ("complete", ()),
        "one": ("complete", ()),
        "two": ("queued", ()),
        "tune": ("submit", ()),
        "compare": ("submit", ("two", "tune")),
    }


def test_what_comes_after_a_step_that_is_made_anew_is_not_complete() -> None:
    assert states({"one", "two", "tune", "compare"})["tune"] == ("submit", ("one",))


def test_the_line_that_submits_a_step(tmp_path: Path) -> None:
    given = chain(
        tmp_path,
        partition="gpu",
        time="2-00:00:00",
        pretrain={"nodes": 4, "gpus_per_node": 8, "sbatch": {"qos": "long", "contiguous": ""}},
        small={"partition": "cpu"},
    )
    places = Places.of(given)
    line = sbatch_line(STEPS[1], given, places, ["12", "13"])
    assert line[:2] == ["sbatch", "--parsable"]
    assert {"--partition=gpu", "--time=2-00:00:00", "--nodes=4", "--gpus-per-node=8", "--qos=long"} <= set(line)
    assert {"--contiguous", "--dependency=afterok:12:13", "--kill-on-invalid-dep=yes"} <= set(line)
    assert line[-3].endswith("slurm/pretrain.sbatch")
    assert line[-2:] == ["c.yaml", "run.name=one"]
    assert not any(word.startswith("--ntasks") for word in line)  # one for each GPU

    compare = sbatch_line(STEPS[4], given, places, [])
    assert "--partition=cpu" in compare
    assert not any(word.startswith("--dependency") for word in compare)
    assert shlex.split(compare[-1].removeprefix("--wrap="))[:3] == ["python", "x.py", "compare"]
    assert "--ntasks-per-node=2" in sbatch_line(STEPS[1], chain(tmp_path), places, [])


def test_a_mark_is_of_one_command_with_one_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text("a: 1\n")
    places = Places.of(chain(tmp_path))
    before = places.mark(STEPS[0])
    assert places.mark(STEPS[0]) == before
    Path("c.yaml").write_text("a: 2\n")
    assert places.mark(STEPS[0]) != before
    assert environment(STEPS[0], chain(tmp_path), places)["DONE_FILE"] == str(places.mark(STEPS[0]))


def test_two_steps_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="two steps are called one"):
        submit.current([STEPS[1], STEPS[1]], Places.of(chain(tmp_path)))


def test_a_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="jobs need a root on a shared file system"):
        Places.of(chain(tmp_path).model_copy(update={"root": "s3://bucket/x"}))


def test_the_chain_of_the_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It loads as it stands, though its pretraining config names no data."""
    shown = (HOME / "docs" / "cluster.md").read_text().partition("`configs/chain/mine.yaml`")[2]
    block = re.findall(r"^    (.*)$", shown.partition("    python launch/submit.py")[0], re.MULTILINE)
    file = tmp_path / "mine.yaml"
    file.write_text("\n".join(block).replace("../", f"{HOME}/configs/"))
    for name in ("DUMPS", "WARCS"):
        monkeypatch.setenv(name, "raw")
    given = load(str(file), ChainConfig, [])
    found = {one.name: one for one in steps(given, str(file))}
    assert list(found) == ["data", "track", "gpt2-124m", "demo-finetune", "demo-evaluate", "compare"]
    assert "init.checkpoint=runs/mine/gpt2-124m/checkpoints/latest" in found["demo-finetune"].settings
    line = sbatch_line(found["gpt2-124m"], given, Places.of(given), [])
    assert {"--nodes=4", "--gpus-per-node=8", "--account=lm", "--mail-type=FAIL", "--time=1-00:00:00"} <= set(line)


def test_gpus_that_nothing_would_use_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit.queue, "require", lambda: None)
    for asks in (
        {"pretrain": {"gpus_per_node": 8}},
        {"evaluate": {"sbatch": {"gpus": "1"}}},
        {"sbatch": {"gres": "gpu:1"}},
    ):
        with pytest.raises(UserError, match="but device is cpu; set device: auto"):
            submit.submit(chain(tmp_path, **asks), STEPS, print, dry_run=True)


def test_only_one_process_submits_a_chain(tmp_path: Path) -> None:
    places = Places.of(chain(tmp_path))
    with places.locked(), pytest.raises(UserError, match="another process submits this chain"), places.locked():
        pass


def test_progress_is_what_the_log_says_last(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert submit.progress(log) == ""
    log.write_text("start 1\nstep  9/80  loss 3.0\nstep 10/80  loss 2.0\nstep 10  validation: val/loss 1\n")
    assert submit.progress(log) == "step 10/80"
    log.write_text("\n" * 100_000 + "nothing\n")
    assert submit.progress(log) == ""


def test_a_time_that_yaml_reads_as_a_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="write it in quotes"):
        chain(tmp_path, time=14400)
