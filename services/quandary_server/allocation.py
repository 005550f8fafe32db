"""How this process gets its memory."""

import ctypes
import sys
from contextlib import suppress

__all__ = ["share_memory_among_threads"]

M_ARENA_MAX = -8
"""Of mallopt(3): how many heaps there are."""


def share_memory_among_threads() -> None:
    """Have all threads allocate from one heap, before there are any; with a C library other than glibc nothing changes.

    By default each gets its own, up to eight a core, and keeps the holes that its largest work left: arrays of a cloud that
    were freed in one are no use to the others.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
