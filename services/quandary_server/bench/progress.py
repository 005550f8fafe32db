"""Who is told how far a benchmark is, and what it leaves out."""

from collections.abc import Callable

Told = Callable[[str, int, int], None]
"""Told what is being done, how much of it is, and how much there is."""

LeftOut = Callable[[str, Exception], None]
"""Told what was not measured, and why."""
