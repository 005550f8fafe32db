"""Figures as they are kept and as tables show them."""

from collections.abc import Sequence
from dataclasses import replace

from quandary_server.bench.figures import Figure
from quandary_server.experiment.results.figures import rounded

ABSENT = "-"


def shortened(figure: Figure) -> Figure:
    """Return a figure with its numbers to 5 significant digits; raises ValueError for one that is not finite."""
    return replace(figure, value=rounded(figure.value), samples=rounded(list(figure.samples)))


def shown(figures: Sequence[Figure], names: Sequence[str], formats: Sequence[str]) -> list[str]:
    """Return the values of the figures named, each in its format, `-` for one that is not there."""
    values = {figure.name: figure.value for figure in figures}
    pairs = zip(names, formats, strict=True)
    return [format(values[name], how) if name in values else ABSENT for name, how in pairs]
