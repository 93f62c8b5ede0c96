from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from pipeline.data.prefetch import Prefetcher


def test_items_come_in_order_and_end() -> None:
    with Prefetcher(iter(range(50))) as ahead:
        assert list(ahead) == list(range(50))


def test_work_is_done_ahead_but_not_further_than_the_depth() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for n in range(100):
            made.append(n)
            yield n

    with Prefetcher(items(), depth=3) as ahead:
        stream = iter(ahead)
        assert next(stream) == 0
        deadline = time.monotonic() + 60
        while len(made) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.3)
        # The one that was taken, three that wait, and one in the hand of the thread.
        assert made == [0, 1, 2, 3, 4]


def test_an_error_comes_behind_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("the disk is gone")

    found = []
    with Prefetcher(items()) as ahead, pytest.raises(OSError, match="the disk is gone"):
        for item in ahead:
            found.append(item)
    assert found == [1, 2]


def test_leaving_in_the_middle_ends_the_thread() -> None:
    before = threading.active_count()

    def leave() -> None:
        with Prefetcher(iter(range(10**9))) as ahead:
            assert next(iter(ahead)) == 0
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert threading.active_count() == before
