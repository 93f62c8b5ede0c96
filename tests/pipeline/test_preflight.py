from __future__ import annotations

from pathlib import Path

import pytest
from harness import outcomes

from data_prep.errors import UserError
from pipeline import distributed, preflight
from pipeline.preflight import check_disk, check_ranks, code_digest, differences, named

HOSTS = ["node1", "node1", "node2", "node2"]


def test_what_most_ranks_have_is_right() -> None:
    facts = [{"torch": "2.1", "code": "a"}, {"torch": "2.0", "code": "a"}, *[{"torch": "2.1", "code": "a"}] * 2]
    assert differences(facts, HOSTS) == ["torch is 2.0 on rank 1 (node1) and 2.1 elsewhere"]
    assert differences([facts[0]] * 4, HOSTS) == []


def test_of_two_rank_0_is_right_and_every_other_value_is_told() -> None:
    assert differences([{"x": "b"}, {"x": "a"}], HOSTS) == ["x is a on rank 1 (node1) and b elsewhere"]
    assert differences([{"x": "1"}, {"x": "1"}, {"x": "2"}, {"x": "3"}], HOSTS) == [
        "x is 2 on rank 2 (node2) and 1 elsewhere",
        "x is 3 on rank 3 (node2) and 1 elsewhere",
    ]


def test_ranks_are_named_with_the_hosts_that_are_known() -> None:
    assert named([1, 2, 3], HOSTS) == "ranks 1, 2, 3 (node1, node2)"
    assert named([1], [None, None]) == "rank 1"


def test_the_digest_of_the_code_is_of_its_content(tmp_path: Path) -> None:
    digests = {code_digest()}
    (tmp_path / "train").mkdir()
    for name, content in (("a.py", "1"), ("a.py", "2"), ("train/b.py", ""), ("c.txt", "no code")):
        (tmp_path / name).write_text(content)
        digests.add(code_digest([tmp_path]))
    assert len(digests) == 4


def test_room_for_the_next_checkpoints(tmp_path: Path) -> None:
    check_disk(tmp_path / "not" / "yet", 1000, 3)
    with pytest.raises(UserError, match=r"GB are free; the next 3 checkpoints take 36,000,000\.00 GB"):
        check_disk(tmp_path, 10**15, 3)


def _breaks_off(how: str) -> None:
    world = distributed.init()
    if world.rank == 1:
        if how == "wrong sum":
            plain = preflight.dist.all_reduce

            def wrong(total: object) -> None:
                plain(total)
                total[:5] += 1  # type: ignore[index]

            preflight.dist.all_reduce = wrong
        if how == "does not join":
            preflight._reduce = lambda _: preflight.time.sleep(20)  # type: ignore[assignment]
        if how == "error":
            preflight.dist.all_reduce = lambda _: 1 / 0
    check_ranks(world, 0.1 if how == "does not join" else 0.5, "config")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("wrong sum", "an all-reduce went wrong on rank 1 (HOST): 5 of 4,096 sums are wrong"),
        ("does not join", "ranks 0, 1 (HOST) did not end an all-reduce on the cpu within 0.1 minutes"),
    ],
)
def test_an_all_reduce_must_end_and_be_right(how: str, said: str) -> None:
    import socket

    first, second = outcomes(2, _breaks_off, how)
    said = said.replace("HOST", socket.gethostname())
    for one in (first, second):
        assert isinstance(one.error, UserError), one.trace
    assert first.error.what == said
    # Rank 1 waits for what rank 0 says, but not for ever: on busy cores that may come too late.
    assert second.error.what in (said, said.replace(f"ranks 0, 1 ({socket.gethostname()})", "rank 0"))


def _meets(absent: int) -> None:
    import os

    if int(os.environ["RANK"]) != absent:
        preflight.meet(0.1)


@pytest.mark.parametrize("absent", [0, 2])
def test_a_rank_that_never_comes_is_named(absent: int) -> None:
    found = outcomes(3, _meets, absent)
    for rank, one in enumerate(found):
        if rank != absent:
            assert isinstance(one.error, UserError), one.trace
            named = "rank 0 is not to be met at" if absent == 0 else "rank 2 did not come to"
            assert one.error.what.startswith(f"{named} 127.0.0.1:")
    assert ("error: preflight: rank 0" in found[1].output) == (absent == 0)
