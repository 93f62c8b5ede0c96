"""Pages -> text under guard: what the stage uses."""

from __future__ import annotations

from functools import partial
from types import TracebackType
from typing import Self

from data_prep.extract.guard import Died, Guard, Limits
from data_prep.extract.page import Extracted, Failure, page_function
from data_prep.extract.settings import ExtractSettings


class Extractor:
    """Pages -> text, one at a time, in a child process that a bad page may take down. Close it, or use it in `with`.

    A page that takes too long, too much memory or its process's life gives `extract-timeout`, `extract-memory` or
    `extract-crashed`. The first is measured in processor time; see `data_prep.extract.guard` for what that means for
    repeatability.

    Args:
        settings: how.
    """

    def __init__(self, settings: ExtractSettings) -> None:
        limits = Limits(settings.page_seconds, settings.page_memory, settings.recycle_pages)
        self._guard: Guard[Extracted | Failure] = Guard(partial(page_function, settings), limits)

    def __call__(self, body: bytes, content_type: str, charset: str = "") -> Extracted | Failure:
        """The text of one page.

        Args:
            body: the page's bytes.
            content_type: media type in lower case; "" if unknown.
            charset: declared in the HTTP header; "" if none.
        """
        found = self._guard(body, content_type, charset)
        return Failure(f"extract-{found.how}", found.detail) if isinstance(found, Died) else found

    def close(self) -> None:
        """End the child process."""
        self._guard.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
