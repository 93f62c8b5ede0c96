import os
import signal
from typing import Any

import pytest
import torch
import torch.distributed as dist
from harness import outcomes, ranks

from data_prep.errors import UserError
from pipeline import distributed
from pipeline.distributed import map_environment, on_main, together

SLURM = {
    "SLURM_PROCID": "3",
    "SLURM_NTASKS": "8",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_LOCALID": "1",
    "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.5",
    "SLURM_JOB_ID": "1234567",
}


def test_variables_of_deepspeed_and_torchrun_are_left_alone() -> None:
    assert map_environment({"RANK": "1", "WORLD_SIZE": "2", **SLURM}) == {}


def test_slurm_tasks_become_ranks() -> None:
    assert map_environment(SLURM) == {
        "RANK": "3",
        "WORLD_SIZE": "8",
        "LOCAL_RANK": "1",
        "MASTER_ADDR": "10.0.0.5",
        "MASTER_PORT": str(20000 + 1234567 % 20000),
    }


def test_under_slurm_a_given_address_wins() -> None:
    given = {key: value for key, value in SLURM.items() if key != "SLURM_LAUNCH_NODE_IPADDR"}
    found = map_environment({**given, "MASTER_ADDR": "node7", "MASTER_PORT": "29500"})
    assert (found["MASTER_ADDR"], found["MASTER_PORT"]) == ("node7", "29500")


BATCH_SCRIPT = {key: value for key, value in SLURM.items() if key != "SLURM_STEP_NUM_TASKS"}


@pytest.mark.parametrize("env", [{}, {**SLURM, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, BATCH_SCRIPT])
def test_plain_python_is_one_rank(env: dict[str, str]) -> None:
    found = map_environment(env)
    assert (found["RANK"], found["WORLD_SIZE"], found["LOCAL_RANK"]) == ("0", "1", "0")
    assert found["MASTER_ADDR"] == "127.0.0.1"
    assert 1024 < int(found["MASTER_PORT"]) < 65536


def _agree() -> dict[str, Any]:
    world = distributed.init()
    found: dict[str, Any] = {"world": (world.rank, world.size, world.local_rank, world.is_main)}
    found["threads"] = torch.get_num_threads()
    found["together"] = together(lambda: world.rank * 10)
    found["on_main"] = on_main(world, lambda: {"rank": world.rank})

    def fails_on(rank: int, error: Exception) -> Any:
        def work() -> int:
            if world.rank == rank:
                raise error
            return 1

        return work

    for name, run in {
        "user error of rank 1": lambda: together(fails_on(1, UserError("bad", where="file", fix="mend"))),
        "other error of rank 1": lambda: together(fails_on(1, KeyError("gone"))),
        "user error of main": lambda: on_main(world, fails_on(0, UserError("bad", where="file", fix="mend"))),
        "other error of main": lambda: on_main(world, fails_on(0, ZeroDivisionError("div"))),
    }.items():
        try:
            run()
        except Exception as error:
            found[name] = (type(error).__name__, str(error))
    everyone = torch.ones(1)
    dist.all_reduce(everyone)  # the ranks are still in step
    found["sum"] = everyone.item()
    distributed.shutdown()
    return found


def test_ranks_agree_on_results_and_errors() -> None:
    first, second = ranks(2, _agree)
    assert first["world"] == (0, 2, 0, True)
    assert second["world"] == (1, 2, 1, False)
    assert (first["together"], second["together"]) == (0, 10)
    assert first["on_main"] == second["on_main"] == {"rank": 0}
    for one in (first, second):
        assert one["user error of rank 1"] == ("UserError", "file: bad; mend")
        assert one["user error of main"] == ("UserError", "file: bad; mend")
        assert one["sum"] == 2
    assert first["other error of rank 1"] == ("RuntimeError", "rank 1 failed: KeyError('gone')")
    assert second["other error of rank 1"] == ("KeyError", "'gone'")
    assert first["other error of main"] == ("ZeroDivisionError", "div")
    assert second["other error of main"] == ("RuntimeError", "rank 0 failed: ZeroDivisionError('div')")


def test_the_ranks_of_a_host_share_its_cores() -> None:
    cores = len(os.sched_getaffinity(0))
    assert [one["threads"] for one in ranks(2, _agree)] == [max(1, cores // 2)] * 2


def _dies_alone() -> None:
    world = distributed.init()
    if world.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    together(lambda: None)


def test_a_rank_that_is_killed_does_not_leave_the_other_waiting() -> None:
    first, second = outcomes(2, _dies_alone)
    assert second.exit_code == -signal.SIGKILL
    assert first.exit_code == 0  # it came to its end, by an error
    assert first.trace
