"""How this process gets its memory, and what it looks through to give some back."""

import ctypes
import gc
import sys
from contextlib import suppress

__all__ = ["collect_only_what_is_new", "share_memory_among_threads"]

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


def collect_only_what_is_new() -> None:
    """Have Python's collector of cycles pass over whatever there is by now: modules and services stay to the end.

    It looks through everything now and again, which stops all threads: 60 to 100 ms for what a replica has imported.
    """
    gc.collect()
    gc.freeze()
