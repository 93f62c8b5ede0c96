"""Loops that numba compiles on their first use and then keeps beside their file or in the user's cache folder."""

from __future__ import annotations

import contextlib
from typing import Any

import numba

with contextlib.suppress(ImportError):
    from numba.core import entrypoints

    # Before it compiles or loads anything, numba imports every installed package that announces types of its own
    # (awkward, half a second in each worker). The loops here work on numpy arrays alone.
    entrypoints._already_initialized = True


def compiled(function: Any) -> Any:
    """The function compiled without Python objects; from numba's cache if a folder can be written to.

    The cache knows the processor and the source, so that it may lie on a file system that several machines share.
    """
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # neither the file's folder nor the user's cache folder
        return numba.njit(nogil=True)(function)
