"""Loops that numba compiles on their first use and then keeps beside their file or in the user's cache folder."""

from __future__ import annotations

import contextlib
from typing import Any

import numba
import numpy as np

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


@compiled
def mix(x: np.uint64) -> np.uint64:
    """The finaliser of splitmix64 (Steele et al. 2014): every input bit reaches every output bit."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
