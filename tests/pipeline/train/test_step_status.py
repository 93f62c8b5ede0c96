from __future__ import annotations

import math
from typing import Any

import torch
from harness import ranks

from pipeline import distributed
from pipeline.checkpoint.store import Cursor
from pipeline.train.engine import StepResult, reduce_sums
from pipeline.train.feed import StepInput
from pipeline.train.status import StatusExchange


def _exchange() -> Any:
    world = distributed.init()
    exchange = StatusExchange(world)
    seen, plain = [], []
    for step in range(1, 6):
        sums = {"nll": torch.tensor(1 / (step + 3 * world.rank), dtype=torch.float64), "a": torch.tensor(2.0).double()}
        norm = torch.tensor(step if world.is_main else math.nan, dtype=torch.float64)
        flags = [False, step == 3 and world.rank == 1, step == 4]
        exchange.send(StepInput(Cursor(step, 0, 0), 0, 0, []), StepResult(sums, norm), flags)
        plain.append(reduce_sums(sums))
        found = exchange.receive(everything=step == 4)
        seen.append([(one.read.cursor.step, one.sums, one.grad_norm, one.flags) for one in found])
    exchange.forget()
    return seen, plain, exchange.receive(everything=True)


def test_all_ranks_read_the_same_a_step_later_or_at_once() -> None:
    (seen, plain, left), (other, _, _) = ranks(2, _exchange)
    assert seen == other
    assert [[step for step, *_ in one] for one in seen] == [[], [1], [2], [3, 4], []]
    flat = {step: rest for one in seen for step, *rest in one}
    for step, (sums, norm, flags) in flat.items():
        assert sums == plain[step - 1]  # bit for bit
        assert norm == step  # as rank 0 knows it
        assert flags == (0, int(step == 3), 2 * int(step == 4))
    assert left == []
