"""The parts of `quandary bench queue`, each of which can be run alone."""

from collections.abc import Callable, Sequence
from enum import StrEnum

from quandary_server.bench.figures import Figure
from quandary_server.bench.progress import Told


class QueuePart(StrEnum):
    """What can be measured by itself."""

    TRACKS = "tracks"


def queue_figures(told: Told, parts: Sequence[QueuePart]) -> list[Figure]:
    """Return the figures of the parts, in the order of `QueuePart`."""
    return [figure for part in QueuePart if part in parts for figure in _measure(part)(told)]


def _measure(part: QueuePart) -> Callable[[Told], list[Figure]]:
    from quandary_server.bench.queue.tracks import track_figures

    return {QueuePart.TRACKS: track_figures}[part]
