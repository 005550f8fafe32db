"""All pictures of an experiment, as PNG files."""

import io
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from quandary_server.experiment.methods import DEFAULT, RANDOM
from quandary_server.experiment.report import curve_plots, uncertainty_plots
from quandary_server.experiment.report.document import Document
from quandary_server.experiment.report.style import DPI, TITLE, canvas, undetermined
from quandary_server.experiment.results.measures import MACRO_RECALL
from quandary_server.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Drawing = Callable[[], "Figure | None"]

SUMMARY = "experiment"
SUMMARY_DPI = 90
MANY_METHODS = 6
SUMMARY_METHODS = 4


def pictures(document: Document) -> Iterator[tuple[str, Drawing]]:
    """Yield every picture's name with what draws it, None where there is nothing to draw."""
    yield SUMMARY, partial(summary, document)
    for replay in document.replays:
        many = len(document.methods(replay)) > MANY_METHODS
        six = many or replay == document.first
        yield f"curves_{replay}", partial(curve_plots.curves if six else curve_plots.three_curves, document, replay)
        if many:
            yield f"estimators_{replay}", partial(curve_plots.estimators, document, replay)
        yield f"savings_{replay}", partial(curve_plots.savings, document, replay)
        yield f"classes_{replay}", partial(curve_plots.classes, document, replay)
        yield f"sparsification_{replay}", partial(uncertainty_plots.sparsification, document, replay)
        yield f"reliability_{replay}", partial(uncertainty_plots.reliability, document, replay)
        yield f"coverage_{replay}", partial(uncertainty_plots.coverage, document, replay)
    yield "held_out", partial(uncertainty_plots.held_out, document)


def draw_pictures(document: Document, where: Path) -> dict[str, Path]:
    """Draw every picture that there is something for, as <name>.png; return where they lie, by name."""
    where.mkdir(parents=True, exist_ok=True)
    drawn = {}
    for name, drawing in pictures(document):
        figure = drawing()
        if figure is not None:
            drawn[name] = where / f"{name}.png"
            write_atomically(drawn[name], _png(figure, SUMMARY_DPI if name == SUMMARY else DPI), durable=False)
    return drawn


def summary(document: Document) -> "Figure | None":
    """Draw what matters: macro recall over labels, labels saved, and whether the uncertainty finds the errors."""
    replay = document.first
    methods = summary_methods(document, replay) if replay else []
    if replay is None or not methods:
        return None
    figure, panels = canvas(1, 3, (11.5, 4.7))
    curve_plots.draw_curves(panels[0], document, replay, methods, MACRO_RECALL)
    saved = [m for m in methods if document.saving(replay, m, MACRO_RECALL.name, curve_plots.SHARE)]
    if saved:
        curve_plots.draw_savings(panels[1], document, replay, saved, MACRO_RECALL)
        title = "labels saved at 98% of the full pool's\nmacro recall, with 95% intervals"
        panels[1].set_title(title, fontsize=TITLE, loc="left")
        panels[1].set_yticks([])
        for place, method in enumerate(saved):
            panels[1].annotate(
                curve_plots.title_with_seeds(document, replay, method, MACRO_RECALL),
                (0, place - 0.34),
                (3, 2),
                textcoords="offset points",
                fontsize=8.5,
            )
        panels[1].set_ylim(len(saved) - 0.55, -0.65)
    else:
        undetermined(panels[1], "labels saved")
    uncertainty_plots.draw_sparsification(panels[2], document, replay, "class")
    if panels[2].get_legend_handles_labels()[0]:
        panels[2].legend(fontsize=8.5, frameon=False, loc="upper right", bbox_to_anchor=(1.02, 0.97))
    curve_plots.legend_below(figure, panels[:1], 4)
    return figure


def summary_methods(document: Document, replay: str) -> list[str]:
    """Return random sampling and the methods that the summary shows: the packaged query and a few, of those on most seeds."""
    asked = document.replays[replay].methods
    active = [method for method in document.methods(replay) if method != RANDOM]
    most = max((asked[method] for method in active), default=0)
    shown = sorted((method for method in active if asked[method] == most), key=lambda method: method != DEFAULT)
    return [RANDOM, *shown[:SUMMARY_METHODS]] if shown else []


def _png(figure: "Figure", dpi: int) -> bytes:
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=dpi)
    return written.getvalue()
