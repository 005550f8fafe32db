"""Pictures of learning curves and of what they save."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from quandary.labels import CLASSES
from quandary.options import Estimator
from quandary_server.evaluation.savings import Better
from quandary_server.experiment.methods import DEFAULT, METHODS, RANDOM
from quandary_server.experiment.report.document import Document, Sample
from quandary_server.experiment.report.saving_words import count_told, seeds_told, short_told
from quandary_server.experiment.report.style import (
    ESTIMATOR_LINES,
    ESTIMATOR_TITLES,
    GREY,
    INK,
    TITLE,
    canvas,
    colour_of,
    dress,
    line_of,
    marker_of,
    title_of,
    weight_of,
)
from quandary_server.experiment.results.measures import ACCURACY, CENTRE, IOU, MACRO_RECALL, NLL, SIZE, Measure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHARE = 0.98
BAND_SEEDS = 5
"""With fewer seeds the interval tells nothing but that they are few: the legend says so in place of a band."""

LABELS = "labels (log scale)"


def curves(document: Document, replay: str) -> "Figure | None":
    """Draw six measures over labels, for the methods that are judged as the service answers: ensemble x MC-dropout."""
    methods = _judged_with(document, replay, Estimator.ENSEMBLE_MC_DROPOUT)
    if not methods:
        return None
    figure, panels = canvas(2, 3, (10.5, 7.4))
    for axes, measure in zip(panels, (MACRO_RECALL, ACCURACY, NLL, CENTRE, SIZE, IOU), strict=True):
        draw_curves(axes, document, replay, methods, measure)
    legend_below(figure, panels, len(methods))
    return figure


def estimators(document: Document, replay: str) -> "Figure | None":
    """Draw macro recall and centre error by estimator, each beside random sampling judged with the same estimator."""
    found = [e for e in ESTIMATOR_TITLES if len(_judged_with(document, replay, e)) > 1]
    if len(found) < 2:
        return None
    figure, panels = canvas(2, len(found), (2.55 * len(found) + 0.5, 6.8))
    for row, measure in enumerate((MACRO_RECALL, CENTRE)):
        for column, estimator in enumerate(found):
            axes = panels[row * len(found) + column]
            draw_curves(axes, document, replay, _judged_with(document, replay, estimator), measure, estimator)
            dress(
                axes,
                f"{ESTIMATOR_TITLES[estimator]}: {measure.title}",
                LABELS if row else "",
                _axis(measure) if not column else "",
            )
        _same_height(panels[row * len(found) : (row + 1) * len(found)])
    legend_below(figure, panels, 3)
    return figure


def three_curves(document: Document, replay: str) -> "Figure | None":
    """Draw macro recall, centre error and IoU of all of a replay's methods, for replays with few."""
    methods = document.methods(replay)
    if not methods:
        return None
    figure, panels = canvas(1, 3, (10.5, 4.4))
    for axes, measure in zip(panels, (MACRO_RECALL, CENTRE, IOU), strict=True):
        draw_curves(axes, document, replay, methods, measure)
    legend_below(figure, panels, len(methods) + 1)
    return figure


def draw_curves(
    axes: "Axes",
    document: Document,
    replay: str,
    methods: Sequence[str],
    measure: Measure,
    judged: Estimator = METHODS[RANDOM].estimator,
) -> None:
    """Draw methods over labels, with bands of 95 %; random sampling in grey for every estimator that they are judged with."""
    others = dict.fromkeys(METHODS[m].estimator for m in methods if m != RANDOM and m in METHODS)
    for estimator in others or [judged]:
        points = document.random_curve(replay, estimator, measure.name)
        label = title_of(RANDOM) if estimator is judged else f"random, {ESTIMATOR_TITLES[estimator]}"
        _line(axes, points, RANDOM, label, ESTIMATOR_LINES[estimator])
    for method in methods:
        if method != RANDOM:
            _line(axes, document.curve(replay, method, measure.name), method, title_of(method), line_of(method))
    _draw_target(axes, document, replay, measure, judged)
    axes.set_xscale("log")
    _label_ticks(axes)
    dress(axes, _told(document, replay, methods, measure), LABELS, _axis(measure))


def _told(document: Document, replay: str, methods: Sequence[str], measure: Measure) -> str:
    """Return a panel's title: which way is better, and where the method told of first reaches the target."""
    better = "higher" if measure.better is Better.HIGHER else "lower"
    first = DEFAULT if DEFAULT in methods else next((method for method in reversed(methods) if method != RANDOM), "")
    found = document.saving(replay, first, measure.name, SHARE)
    if found is None:
        return f"{measure.title}: {better} is better"
    ours = f"{found['method_labels']:,.0f}" if found["reached"] else "never"
    theirs = f"{found['random_labels']:,.0f}" if found["random_reached"] else "never"
    name, _, _ = title_of(first).partition(",")
    seeds = count_told(found["seeds"])
    return f"{measure.title}: {better} is better ({seeds})\n{SHARE:.0%}: {name} {ours}, random {theirs}"


def savings(document: Document, replay: str) -> "Figure | None":
    """Draw the labels saved at 98 % of the full pool's performance, by method, with 95 % intervals."""
    methods = [m for m in document.methods(replay) if document.saving(replay, m, MACRO_RECALL.name, SHARE)]
    if not methods:
        return None
    figure, panels = canvas(1, 3, (10.5, 1.9 + 0.34 * len(methods)))
    for axes, measure in zip(panels, (MACRO_RECALL, CENTRE, IOU), strict=True):
        draw_savings(axes, document, replay, methods, measure)
        if axes is not panels[0]:
            axes.set_yticklabels([])
    figure.suptitle(
        f"Labels saved against random, at {SHARE:.0%} of the full pool's performance, with 95% intervals",
        fontsize=11.5,
        color=INK,
    )
    return figure


def draw_savings(axes: "Axes", document: Document, replay: str, methods: Sequence[str], measure: Measure) -> None:
    """Draw one measure's savings as bars; a method that does not reach the target has none, and is named so."""
    for place, method in enumerate(methods):
        found = document.saving(replay, method, measure.name, SHARE)
        if found is None:
            axes.annotate("undetermined", (0, place), (4, 0), textcoords="offset points", va="center", fontsize=8, color=GREY)
            continue
        right = _draw_saving(axes, place, method, found) if found["reached"] else 0.0
        axes.annotate(
            short_told(found), (right, place), (5, 0), textcoords="offset points", va="center", fontsize=8.5, color=INK
        )
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(methods)), [title_with_seeds(document, replay, method, measure) for method in methods])
    axes.set_ylim(len(methods) - 0.4, -0.6)
    axes.xaxis.set_major_formatter("{x:.0%}")
    dress(axes, measure.title, "labels saved")
    left, right = axes.get_xlim()
    axes.set_xlim(max(min(left, -0.02), -1.0), max(right, 0.3) + 0.16)


def title_with_seeds(document: Document, replay: str, method: str, measure: Measure) -> str:
    """Return what a method is called, and on how many seeds its saving stands."""
    found = document.saving(replay, method, measure.name, SHARE)
    return title_of(method) if found is None else f"{title_of(method)} ({seeds_told(found)})"


def _draw_saving(axes: "Axes", place: int, method: str, found: Sample) -> float:
    """Draw a saving and its interval; return where they end on the right, 0 at the least."""
    value, low, high = found["value"], found["low"], found["high"]
    axes.barh(place, value, 0.62, color=colour_of(method), alpha=0.85)
    if low is None:
        return max(float(value), 0.0)
    for colour, width, size in (("white", 3.6, 10), (INK, 1.4, 8)):
        axes.plot([low, high], [place, place], color=colour, linewidth=width, marker="|", markersize=size)
    return max(float(value), float(high), 0.0)


def classes(document: Document, replay: str) -> "Figure | None":
    """Draw what share of the queried labels each class has, by method, beside the whole pool."""
    rows = [("pool", "the whole pool"), *((method, title_of(method)) for method in document.methods(replay))]
    found = [(title, mix) for name, title in rows if (mix := document.class_mix(replay, name)) is not None]
    if len(found) < 2:
        return None
    names = [name for name in CLASSES if any(sample["shares"].get(name) for _, sample in found)]
    grid = [[float(sample["shares"].get(name, 0)) for name in names] for _, sample in found]
    figure, (axes,) = canvas(1, 1, (10.5, 1.5 + 0.36 * len(found)))
    axes.imshow(grid, cmap="Blues", aspect="auto", vmin=0, vmax=max(max(row) for row in grid) * 1.15)
    for y, row in enumerate(grid):
        for x, share in enumerate(row):
            dark = share > 0.6 * max(max(r) for r in grid)
            text = f"{share:.0%}" if share >= 0.0095 or share == 0 else f"{share:.1%}"
            axes.text(x, y, text, ha="center", va="center", fontsize=9, color="white" if dark else INK)
    axes.set_xticks(range(len(names)), [name.replace("_", "\n") for name in names], fontsize=9)
    axes.set_yticks(range(len(found)), [title for title, _ in found], fontsize=9)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    labels = found[-1][1]["labels"]
    title = f"Classes among the labels asked for after the first, up to {labels:,.0f} labels"
    axes.set_title(title, fontsize=TITLE, loc="left", color=INK)
    return figure


def legend_below(figure: "Figure", panels: Sequence["Axes"], columns: int) -> None:
    """Put one legend of all panels below them, in as many columns up to these as the picture is wide enough for."""
    found = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    for ncols in range(min(columns, 4), 0, -1):
        legend = figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=ncols, frameon=False, fontsize=9)
        if ncols == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


def _judged_with(document: Document, replay: str, estimator: Estimator) -> list[str]:
    methods = [m for m in document.methods(replay) if m != RANDOM and m in METHODS and METHODS[m].estimator is estimator]
    return [RANDOM, *methods] if document.random_curve(replay, estimator, MACRO_RECALL.name) else methods


def _line(axes: "Axes", points: Sequence[Sequence[float]], method: str, label: str, line: Any) -> None:
    if not points:
        return
    labels, means, lows, highs, seeds = zip(*points, strict=True)
    few = min(seeds) < BAND_SEEDS
    colour, weight = colour_of(method), weight_of(method)
    front = 3 if weight > 2 else 2
    axes.plot(
        labels,
        means,
        linestyle=line,
        marker=marker_of(method),
        markersize=4,
        color=colour,
        linewidth=weight,
        label=f"{label} ({count_told(min(seeds))})" if few else label,
        zorder=front,
    )
    if not few:
        axes.fill_between(labels, lows, highs, color=colour, alpha=0.13, linewidth=0)


def _draw_target(axes: "Axes", document: Document, replay: str, measure: Measure, estimator: Estimator) -> None:
    points = document.random_curve(replay, estimator, measure.name)
    if not points or not document.replays[replay].full_pool:
        return
    full = points[-1][1]
    target = full * SHARE if measure.better is Better.HIGHER else full / SHARE
    axes.axhline(target, color=INK, linewidth=0.9, linestyle=(0, (1, 2)), label=f"{SHARE:.0%} of the full pool")


def _label_ticks(axes: "Axes") -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3), numticks=12))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _axis(measure: Measure) -> str:
    return measure.title if measure.unit == "share" else f"{measure.title} ({measure.unit})"


def _same_height(panels: Sequence["Axes"]) -> None:
    limits = [axes.get_ylim() for axes in panels]
    for i, axes in enumerate(panels):
        axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
        if i:
            axes.tick_params(labelleft=False)
