"""The parts of `quandary bench train`, each of which can be run alone."""

from collections.abc import Callable, Sequence
from enum import StrEnum

from quandary_server.bench.figures import Figure, Measured
from quandary_server.bench.progress import Told


class TrainPart(StrEnum):
    """What can be measured by itself."""

    MEMBERS = "members"
    LOOP = "loop"
    KILL = "kill"
    START = "start"


PREFIXES = {"member": TrainPart.MEMBERS, "workers_": TrainPart.MEMBERS, "label_": TrainPart.LOOP, "start_": TrainPart.START}


def part_of(figure: str) -> TrainPart:
    """Return the part that measures a figure, by its name."""
    return next((part for prefix, part in PREFIXES.items() if figure.startswith(prefix)), TrainPart.KILL)


def train_figures(
    told: Told, parts: Sequence[TrainPart], failed: Callable[[str, Exception], None], measured: Measured = lambda *_: None
) -> list[Figure]:
    """Return the figures of the parts, in the order of `TrainPart`.

    failed: told of a part that ended in an error: its figures are left out, the others go on. measured: told those of a part.
    """
    figures: list[Figure] = []
    for part in TrainPart:
        if part in parts:
            try:
                found = _measure(part)(told)
            except Exception as error:
                failed(part.value, error)
                continue
            measured(found)
            figures += found
    return figures


def _measure(part: TrainPart) -> Callable[[Told], list[Figure]]:
    if part is TrainPart.MEMBERS:
        from quandary_server.bench.train.side_by_side import member_figures

        return member_figures
    if part is TrainPart.LOOP:
        from quandary_server.bench.train.loop import loop_figures

        return loop_figures
    if part is TrainPart.KILL:
        from quandary_server.bench.train.kill import kill_figures

        return kill_figures
    from quandary_server.bench.train.start import start_figures

    return start_figures
