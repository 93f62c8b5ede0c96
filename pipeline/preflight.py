"""Before a run begins: whether every rank answers, and all are the same in what must be the same.

What can be wrong here makes a run hang, or train something else on one rank, without any error. Each check ends in one
line that names ranks and hosts. The ranks speak through the key-value store at which they met, which one rank that does
not answer cannot block.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import itertools
import json
import os
import platform
import shutil
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import TCPStore

from data_prep.errors import UserError
from pipeline.distributed import World
from pipeline.tracking.lineage import git_commit

Facts = dict[str, str]

_GRACE_SECONDS = 5.0
"""How much longer rank 0 waits for answers that were given in time, and the others for what it makes of them."""
_FIX = "look at the logs and the machines of these ranks, or start without them"
_numbers = itertools.count()
_met: list[Any] = []
"""Keeps open where the ranks have met."""


_PACKAGES = (Path(inspect.getfile(UserError)).parent, Path(__file__).parent)
"""Folders of data_prep and pipeline."""


def code_digest(packages: Sequence[Path] = _PACKAGES) -> str:
    """sha256 (hex) over the names and bytes of the source files in some folders, by default of this project's."""
    digest = hashlib.sha256()
    for root in packages:
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{root.name}/{path.relative_to(root).as_posix()}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def environment_facts(config_sha: str) -> Facts:
    """What must be the same on every rank before any data is opened.

    Args:
        config_sha: digest of the whole configuration.
    """
    return {
        "code": f"{(git_commit() or 'no git')[:12]} {code_digest()[:12]}",
        "config": config_sha[:12],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "deepspeed": metadata.version("deepspeed"),
        "cuda": str(torch.version.cuda),
    }


def differences(facts: Sequence[Mapping[str, str]], hosts: Sequence[str]) -> list[str]:
    """One text for each fact that is not the same on every rank; the most frequent value is what is right.

    Args:
        facts: name -> value, of each rank.
        hosts: of each rank.
    """
    found = []
    for name in facts[0]:
        values = [one.get(name, "nothing") for one in facts]
        counts = Counter(values)
        usual = max(counts, key=lambda value: (counts[value], value == values[0]))
        for other in sorted(set(values) - {usual}):
            ranks = [rank for rank, value in enumerate(values) if value == other]
            found.append(f"{name} is {other} on {named(ranks, hosts)} and {usual} elsewhere")
    return found


def named(ranks: Sequence[int], hosts: Sequence[str | None]) -> str:
    """`rank 3 (node1)`, `ranks 3, 7 (node1, node4)`; hosts where they are known."""
    known = sorted({host for rank in ranks if (host := hosts[rank]) is not None})
    many = "s" if len(ranks) > 1 else ""
    return f"rank{many} {', '.join(map(str, ranks))}" + (f" ({', '.join(known)})" if known else "")


class _Board:
    """Where ranks leave what they have to say; a new one for each question.

    Args:
        store: where all ranks meet.
        rank: of this process.
        size: number of ranks.
        seconds: within which all must answer.
    """

    def __init__(self, store: Any, rank: int, size: int, seconds: float) -> None:
        self._store, self._size, self._seconds = store, size, seconds
        self._prefix = f"preflight/{next(_numbers)}"
        self._end = time.monotonic() + seconds
        self.rank, self.minutes = rank, seconds / 60
        self._say(f"host {rank}", socket.gethostname())

    def _say(self, name: str, value: Any) -> None:
        self._store.set(f"{self._prefix}/{name}", json.dumps(value))

    def _get(self, name: str, seconds: float) -> Any:
        """What is under a name.

        Raises:
            TimeoutError: nothing, for so long.
        """
        key = f"{self._prefix}/{name}"
        try:
            self._store.wait([key], timedelta(seconds=max(seconds, 0.001)))
            return json.loads(self._store.get(key))
        except dist.DistError as error:
            raise TimeoutError from error

    def answer(self, work: Callable[[], Any]) -> None:
        """Leave this rank's answer, if it comes in time: a collective that a rank does not join takes longer."""
        found: list[Any] = []
        # The thread must not touch the store, whose lock a rank holds that waits for an answer.
        thread = threading.Thread(target=lambda: found.append(work()), name="preflight", daemon=True)
        thread.start()
        thread.join(self._seconds)
        if found:
            self._say(f"answer {self.rank}", found[0])

    def settle(self, judge: Callable[[list[Any]], Any], what: str) -> Any:
        """Give every rank what rank 0 makes of all answers.

        Args:
            judge: of rank 0: answers by rank -> what all are told.
            what: what ranks that are missing did not do.

        Raises:
            TimeoutError: rank 0 says nothing.
        """
        if self.rank != 0:
            verdict = self._get("verdict", self._end - time.monotonic() + 2 * _GRACE_SECONDS)
            self._say(f"read {self.rank}", True)
            return verdict
        answers: list[Any] = []
        missing = []
        for rank in range(self._size):
            try:
                answers.append(self._get(f"answer {rank}", self._end - time.monotonic() + _GRACE_SECONDS))
            except TimeoutError:
                missing.append(rank)
        verdict = judge(answers) if not missing else {"error": f"{self._blame(missing)} did not {what}"}
        self._say("verdict", verdict)
        # Rank 0 may hold the store, which an error would end with it.
        end = time.monotonic() + _GRACE_SECONDS
        with contextlib.suppress(TimeoutError):
            for rank in set(range(1, self._size)) - set(missing):
                self._get(f"read {rank}", end - time.monotonic())
        return verdict

    def _blame(self, missing: list[int]) -> str:
        """The ranks that were not even asked, if there are any: those that were asked may wait for them."""
        hosts: list[str | None] = []
        for rank in range(self._size):
            try:
                hosts.append(self._get(f"host {rank}", 0))
            except TimeoutError:
                hosts.append(None)
        return named([rank for rank in missing if hosts[rank] is None] or missing, hosts)


def _ask(board: _Board, what: str, answer: Callable[[], Any], judge: Callable[[list[Any]], Any]) -> Any:
    """Ask every rank one question; what rank 0 makes of the answers.

    Args:
        board: for this question.
        what: what ranks that are missing did not do.
        answer: gives this rank's answer.
        judge: answers of all ranks -> {"error": text} or anything else.

    Raises:
        UserError: a rank does not answer, or `judge` has an error.
    """
    board.answer(answer)
    late = f"{what} within {board.minutes:g} minutes"
    try:
        verdict = board.settle(judge, late)
    except TimeoutError:
        raise _without_rank_0(board.rank, f"rank 0 did not {late}") from None
    if isinstance(verdict, dict) and "error" in verdict:
        raise UserError(verdict["error"], where="preflight", fix=verdict.get("fix", _FIX))
    return verdict


def _without_rank_0(rank: int, what: str) -> UserError:
    error = UserError(what, where="preflight", fix=_FIX)
    if rank == 1:  # rank 0, which else speaks for all, does not
        print(f"error: {error}", file=sys.stderr, flush=True)
    return error


def _board(world: World, minutes: float) -> _Board:
    return _Board(dist.distributed_c10d._get_default_store(), world.rank, world.size, 60 * minutes)


def meet(minutes: float) -> None:
    """Wait for every rank before the process group is made, which would wait long and name nobody; collective.

    The environment says where (`distributed.map_environment`).

    Args:
        minutes: within which all must come.

    Raises:
        UserError: names the ranks that did not.
    """
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if size == 1:
        return
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    # Under torchrun its agent is the host; else rank 0, which later shares what it opens here with the process group.
    by_agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    bound = timedelta(minutes=minutes)
    try:
        store = TCPStore(
            host, port, size, rank == 0 and not by_agent, timeout=bound, wait_for_workers=False, multi_tenant=True
        )
    except dist.DistError:
        raise _without_rank_0(rank, f"rank 0 is not to be met at {host}:{port} within {minutes:g} minutes") from None
    _ask(_Board(store, rank, size, 60 * minutes), f"come to {host}:{port}", lambda: True, lambda _: "fine")
    _met.append(store)


def _agree(world: World, minutes: float, facts: Facts, fix: str) -> list[str]:
    """Raise `UserError` unless the facts are the same on every rank; hosts of all ranks."""

    def judge(answers: list[Any]) -> Any:
        hosts = [answer["host"] for answer in answers]
        found = differences([answer["facts"] for answer in answers], hosts)
        return {"error": "; ".join(found), "fix": fix} if found else hosts

    mine = {"host": socket.gethostname(), "facts": facts}
    hosts: list[str] = _ask(_board(world, minutes), "answer", lambda: mine, judge)
    return hosts


def _reduce(world: World) -> str:
    """Add up known numbers over all ranks on the device; empty if the sum is right, else what is wrong."""
    pattern = torch.arange(4096, device=world.device) % 16 + 1
    total = (pattern * (world.rank % 8 + 1)).float()
    dist.all_reduce(total)
    expected = (pattern * sum(rank % 8 + 1 for rank in range(world.size))).float()
    wrong = int((total != expected).sum())
    return f"{wrong:,} of {len(total):,} sums are wrong" if wrong else ""


def check_ranks(world: World, minutes: float, config_sha: str) -> None:
    """See that every rank answers, runs the same code, settings and libraries, and adds up right; collective.

    Args:
        world: this process among all.
        minutes: within which all must answer.
        config_sha: digest of the whole configuration.

    Raises:
        UserError: names the ranks and hosts with which something is wrong.
    """
    fix = "install the same code and packages everywhere, and start every rank with the same command"
    hosts = _agree(world, minutes, environment_facts(config_sha), fix)

    def reduce() -> str:
        try:
            return _reduce(world)
        except Exception as error:  # whatever a communication library raises
            return f"{type(error).__name__}: {error}"

    def judge(answers: list[str]) -> Any:
        wrong = [rank for rank, answer in enumerate(answers) if answer]
        if not wrong:
            return "fine"
        return {"error": f"an all-reduce went wrong on {named(wrong, hosts)}: {answers[wrong[0]]}"}

    _ask(_board(world, minutes), f"end an all-reduce on the {world.device.type}", reduce, judge)


def check_data(world: World, minutes: float, fingerprints: Facts) -> None:
    """See that every rank reads the same data; collective.

    Args:
        world: this process among all.
        minutes: within which all must answer.
        fingerprints: name -> digest.

    Raises:
        UserError: names the ranks and hosts that read other data.
    """
    short = {name: value[:12] for name, value in fingerprints.items()}
    _agree(world, minutes, short, "give every rank the same data")


def check_disk(run_dir: Path, parameters: int, copies: int) -> None:
    """See that there is room for checkpoints to come.

    Args:
        run_dir: the run folder.
        parameters: of the model; a checkpoint takes 12 bytes for each (fp32 weight and two moments).
        copies: checkpoints that will be written before an old one goes.

    Raises:
        UserError: there is too little.
    """
    needed = 12 * parameters * max(1, copies)
    folder = run_dir
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{free / 1e9:,.2f} GB are free; the next {max(1, copies)} checkpoints take {needed / 1e9:,.2f} GB",
            where=os.fspath(folder),
            fix="free some space, lower checkpoint.keep_last, or use another run.dir",
        )
