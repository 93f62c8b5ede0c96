"""Work of the next steps done ahead, in a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

from pipeline.data.batches import Batch

T = TypeVar("T")
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class _End:
    """Nothing follows; `error` is what ended it, if not the end of the items."""

    error: BaseException | None


class Prefetcher(Generic[T]):
    """Iterates over `items` while a thread computes up to `depth` of them ahead; the same items in the same order.

    An error in the thread is raised by the iteration, behind the items that precede it. Leaving the `with` block ends
    the thread, also in the middle.

    Args:
        items: advanced by the thread alone.
        depth: items that wait at most.
    """

    def __init__(self, items: Iterator[T], depth: int = 2) -> None:
        self._items = items
        self._ready: queue.Queue[T | _End] = queue.Queue(depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="prefetch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def __iter__(self) -> Iterator[T]:
        while True:
            item = self._ready.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item

    def _work(self) -> None:
        end = _End(None)
        try:
            for item in self._items:
                if not self._put(item):
                    return
        except BaseException as error:
            end = _End(error)
        self._put(end)

    def _put(self, item: T | _End) -> bool:
        """Whether the item was taken, not given up because nobody will."""
        while not self._stop.is_set():
            try:
                self._ready.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False


def pinned(batch: Batch) -> Batch:
    """The batch in page-locked memory, from which a GPU copies while it computes."""
    return {name: tensor.pin_memory() for name, tensor in batch.items()}
