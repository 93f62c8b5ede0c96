"""Loops that numba compiles on their first use and then keeps beside their file or in the user's cache folder."""

from __future__ import annotations

from typing import Any

import numba


def compiled(function: Any) -> Any:
    """The function compiled without Python objects; from numba's cache if a folder can be written to.

    The cache knows the processor and the source, so that it may lie on a file system that several machines share.
    """
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # neither the file's folder nor the user's cache folder
        return numba.njit(nogil=True)(function)
