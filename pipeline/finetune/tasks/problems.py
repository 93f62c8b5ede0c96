"""Rows that cannot be used: collected, so that one line tells the first and how many there are."""

from __future__ import annotations

from data_prep.errors import UserError


class Problems:
    """What is wrong with the rows of a split.

    Args:
        fix: what to do about them.
    """

    def __init__(self, fix: str = "mend or remove it") -> None:
        self._fix = fix
        self._first: tuple[str, str] | None = None
        self._rows = 0

    def add(self, place: str, what: str) -> None:
        """A row at `place` (file and row)."""
        if self._first is None:
            self._first = (place, what)
        self._rows += 1

    def check(self) -> None:
        """End of the rows.

        Raises:
            UserError: one has a problem.
        """
        if self._first is not None:
            place, what = self._first
            count = f" (the first of {self._rows:,} rows that cannot be used)" if self._rows > 1 else ""
            raise UserError(f"{what}{count}", where=place, fix=self._fix)
