"""Ranks that compute together: the first has the work, deals it out and gets the results; the others serve it."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from data_prep.errors import UserError
from pipeline.launcher import end_with_launcher, map_environment

T = TypeVar("T")


@dataclass(frozen=True)
class _Failure:
    error: UserError | str


@dataclass(frozen=True)
class Ranks:
    """This process among those of an evaluation.

    Attributes:
        rank: 0 .. size-1.
        size: number of processes.
        device: where the model lives.
        leave: whether a rank that is let go leaves the process group; not where training goes on in it.
    """

    rank: int
    size: int
    device: torch.device
    leave: bool = True

    @staticmethod
    def join() -> Ranks:
        """Meet the other ranks, if a launcher started some."""
        environment = {**os.environ, **map_environment(dict(os.environ))}
        if int(environment["WORLD_SIZE"]) == 1:
            end_with_launcher()
            return Ranks.alone()
        # Here and not above: DeepSpeed takes seconds to import, and one rank needs none of it.
        from pipeline import distributed

        world = distributed.init()
        return Ranks(world.rank, world.size, world.device)

    @staticmethod
    def alone() -> Ranks:
        """This process by itself."""
        use_gpu = torch.cuda.is_available() and os.environ.get("DS_ACCELERATOR") != "cpu"
        return Ranks(0, 1, torch.device("cuda" if use_gpu else "cpu"))

    @property
    def is_main(self) -> bool:
        """Whether this rank leads: it reads, prints, tracks and writes."""
        return self.rank == 0

    def together(self, work: Callable[[], T]) -> T:
        """Do the same on every rank; if it fails on any, every rank raises."""
        if self.size == 1:
            return work()
        from pipeline import distributed

        return distributed.together(work)

    def share(self, name: str, payloads: Sequence[Any], work: Callable[[Any], Any]) -> list[Any]:
        """Have every rank do its part; for the leading rank.

        Args:
            name: of the work, under which the others know it.
            payloads: what each rank is given.
            work: does this rank's own part.

        Returns:
            Each rank's result.

        Raises:
            UserError: the first failing rank's, if it was one.
            RuntimeError: another failure on another rank.
        """
        if self.size == 1:
            return [work(payloads[0])]
        dist.scatter_object_list([None], [(name, payload) for payload in payloads], src=0)
        mine = _tried(work, payloads[0])
        found: list[Any] = [None] * self.size
        dist.gather_object(mine, found, dst=0)
        for rank, result in enumerate(found):
            if isinstance(result, _Failure):
                if isinstance(result.error, UserError):
                    raise result.error
                raise RuntimeError(f"rank {rank} failed: {result.error}")
        return found

    def serve(self, works: Mapping[str, Callable[[Any], Any]]) -> None:
        """Do what the leading rank shares, until it lets go; for the others."""
        while True:
            box: list[Any] = [None]
            dist.scatter_object_list(box, None, src=0)
            if box[0] is None:
                self._leave()
                return
            name, payload = box[0]
            dist.gather_object(_tried(works[name], payload), None, dst=0)

    def dismiss(self) -> None:
        """Let the others go; for the leading rank."""
        if self.size > 1:
            dist.scatter_object_list([None], [None] * self.size, src=0)
            self._leave()

    def _leave(self) -> None:
        if self.leave:
            dist.destroy_process_group()


def _tried(work: Callable[[Any], Any], payload: Any) -> Any:
    """The result, or what went wrong: a rank that raised alone would leave the others waiting."""
    try:
        return work(payload)
    except UserError as error:
        return _Failure(error)
    except Exception:
        return _Failure(traceback.format_exc())
