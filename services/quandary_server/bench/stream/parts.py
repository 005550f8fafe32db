"""The parts of `quandary bench stream`, each of which can be run alone."""

from enum import StrEnum


class StreamPart(StrEnum):
    """What can be measured by itself."""

    COST = "cost"
    MCAP = "mcap"
    STEPS = "steps"
    LIVE = "live"
    MEMORY = "memory"
