"""How methods and estimators look, the same in every picture: told apart without colour too, by marker and line."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from quandary.options import Estimator
from quandary_server.experiment.methods import METHODS, RANDOM

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, GREY, PALE = "#1f2937", "#6b7280", "#d1d5db"
DPI = 100
TITLE = 9.5

COLOURS = {
    "random": GREY,
    "default": "#d55e00",
    "default_folded": "#7b2d8b",
    "softmax_entropy": "#b8860b",
    "mc_entropy": "#56b4e9",
    "mc_mi": "#0072b2",
    "ensemble_entropy": "#66c2a5",
    "ensemble_mi": "#007a5a",
    "ensemble_mc_mi": "#cc79a7",
    "box": "#8c564b",
    "mi_box": "#111827",
    "k_centre": "#808000",
    "mi_box_folded": "#b3123d",
    "objects": "#e69f00",
    "mi_folded": "#009e73",
    "mi_floor": "#5b4b8a",
    "mi_chance": "#c44e9b",
    "mi_floor_chance": "#4c566a",
    "mi_box_floor_chance": "#a0522d",
    "served": "#2f6b3c",
}
"""After Okabe and Ito, whose eight colours all can tell apart; the rest differ from them in lightness."""

MARKERS = dict(zip(COLOURS, "osDvp^PXd<>h18234Hx+", strict=True))
OTHERS = ("#e41a1c", "#377eb8", "#4daf4a", "#984ea3", "#a65628")

ESTIMATOR_COLOURS = {
    Estimator.SOFTMAX: "#b8860b",
    Estimator.MC_DROPOUT: "#0072b2",
    Estimator.DEEP_ENSEMBLE: "#007a5a",
    Estimator.ENSEMBLE_MC_DROPOUT: "#d55e00",
}
ESTIMATOR_TITLES = {
    Estimator.SOFTMAX: "softmax",
    Estimator.MC_DROPOUT: "MC-dropout",
    Estimator.DEEP_ENSEMBLE: "ensemble",
    Estimator.ENSEMBLE_MC_DROPOUT: "ensemble x MC",
}
ESTIMATOR_LINES: dict[Estimator, Any] = {
    Estimator.SOFTMAX: ":",
    Estimator.MC_DROPOUT: "--",
    Estimator.DEEP_ENSEMBLE: "-.",
    Estimator.ENSEMBLE_MC_DROPOUT: "-",
}


def title_of(method: str) -> str:
    """Return what a method is called."""
    return METHODS[method].title if method in METHODS else method


def colour_of(method: str) -> str:
    """Return a method's colour; one that has none of its own gets one by its name."""
    return COLOURS.get(method) or OTHERS[sum(method.encode()) % len(OTHERS)]


def marker_of(method: str) -> str:
    """Return a method's marker."""
    return MARKERS.get(method, "*")


def line_of(method: str) -> Any:
    """Return the line of a method: that of its estimator."""
    return ESTIMATOR_LINES[METHODS[method].estimator] if method in METHODS else "-"


def weight_of(method: str) -> float:
    """Return the width of a method's line: what is compared with, and what is packaged, stand out."""
    return 2.4 if method == RANDOM or method.startswith("default") else 1.5


def canvas(rows: int, columns: int, size: tuple[float, float]) -> tuple["Figure", Sequence["Axes"]]:
    """Return an empty picture of so many panels, in inches of 100 pixels, and the panels row by row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def dress(axes: "Axes", title: str, x: str = "", y: str = "") -> None:
    """Give a panel its words and a quiet grid."""
    axes.set_title(title, fontsize=TITLE, loc="left", color=INK)
    axes.set_xlabel(x, fontsize=9.5)
    axes.set_ylabel(y, fontsize=9.5)
    axes.tick_params(labelsize=9)
    axes.grid(alpha=0.35, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def undetermined(axes: "Axes", title: str, why: str = "undetermined") -> None:
    """Say that a panel has nothing to show."""
    axes.set_title(title, fontsize=TITLE, loc="left", color=INK)
    axes.text(0.5, 0.5, why, ha="center", va="center", color=GREY, transform=axes.transAxes)
    axes.set_axis_off()
