"""Who is told how far a benchmark is."""

from collections.abc import Callable

Told = Callable[[str, int, int], None]
"""Told what is being done, how much of it is, and how much there is."""
