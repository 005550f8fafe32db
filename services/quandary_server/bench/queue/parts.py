"""The parts of `quandary bench queue`, each of which can be run alone."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial

from quandary_server.bench.figures import Figure, Measured
from quandary_server.bench.progress import LeftOut, Told
from quandary_server.bench.queue.sizes import Sizes


class QueuePart(StrEnum):
    """What can be measured by itself."""

    TRACKS = "tracks"
    LEASES = "leases"
    GRPC = "grpc"
    GROWTH = "growth"
    FENCED = "fenced"
    RERANK = "rerank"


PREFIXES = {
    "leases_grpc": QueuePart.GRPC,
    "leases_": QueuePart.LEASES,
    "lease_over_sql_": QueuePart.LEASES,
    "lease_growth": QueuePart.GROWTH,
    "lease_p99_": QueuePart.GROWTH,
    "fenced": QueuePart.FENCED,
    "rerank_": QueuePart.RERANK,
}


def part_of(figure: str) -> QueuePart:
    """Return the part that measures a figure, by its name."""
    return next((part for prefix, part in PREFIXES.items() if figure.startswith(prefix)), QueuePart.TRACKS)


def queue_figures(
    told: Told, parts: Sequence[QueuePart], sizes: Sizes, left_out: LeftOut, measured: Measured = lambda *_: None
) -> list[Figure]:
    """Return the figures of the parts, in the order of `QueuePart`.

    left_out: told of a part that ended in an error, or whose database is not there: its figures are left out, the others go on.
    """
    figures: list[Figure] = []
    for part in QueuePart:
        if part in parts:
            try:
                found = _measure(part, sizes, left_out)(told)
            except Exception as error:
                left_out(part.value, error)
                continue
            measured(found)
            figures += found
    return figures


def _measure(part: QueuePart, sizes: Sizes, left_out: LeftOut) -> Callable[[Told], list[Figure]]:
    # what a part needs is imported with it: tracks need torch, grpc Ray's ports
    if part is QueuePart.TRACKS:
        from quandary_server.bench.queue.tracks import track_figures

        return track_figures
    if part is QueuePart.GRPC:
        from quandary_server.bench.queue.served import served_figures

        return partial(served_figures, sizes=sizes)
    if part is QueuePart.GROWTH:
        from quandary_server.bench.queue.growth import growth_figures

        return partial(growth_figures, sizes=sizes)
    if part is QueuePart.LEASES:
        from quandary_server.bench.queue.leases import lease_figures as measure
    elif part is QueuePart.FENCED:
        from quandary_server.bench.queue.fenced import fenced_figures as measure
    else:
        from quandary_server.bench.queue.rerank import rerank_figures as measure
    return partial(measure, sizes=sizes, left_out=left_out)
