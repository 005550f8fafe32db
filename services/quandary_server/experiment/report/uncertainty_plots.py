"""Pictures of how right the uncertainty is."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from quandary_server.experiment.report.curve_plots import legend_below
from quandary_server.experiment.report.document import Document
from quandary_server.experiment.report.style import (
    ESTIMATOR_COLOURS,
    ESTIMATOR_LINES,
    ESTIMATOR_TITLES,
    GREY,
    INK,
    canvas,
    dress,
    undetermined,
)
from quandary_server.experiment.results.judgements import MATCHING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KIND_TITLES = {"class": "classification error", "centre": "centre error", "size": "size error", "overlap": "1 - IoU"}
UNCERTAINTY_TITLES = {"predictive_entropy": "predictive entropy", "total": "total variance"}
STAGES = (("raw", "as predicted"), ("calibrated", "after a temperature"))
PARAMETERS = ("#d55e00", "#0072b2", "#007a5a", "#cc79a7", "#b8860b", "#56b4e9", "#1f2937")
TOO_FEW, NOT_JUDGED = "undetermined:\ntoo few errors", "not judged"


def sparsification(document: Document, replay: str) -> "Figure | None":
    """Draw the error left over the share dropped, for class and centre: by estimator, the oracle and chance beside."""
    if not _judged(document, replay):
        return None
    figure, panels = canvas(1, 2, (10, 5))
    for axes, kind in zip(panels, ("class", "centre"), strict=True):
        draw_sparsification(axes, document, replay, kind)
    legend_below(figure, panels, 6)
    return figure


def draw_sparsification(axes: "Axes", document: Document, replay: str, kind: str) -> None:
    """Draw one kind of error; the oracle is that of the last estimator that is drawn."""
    title, by = KIND_TITLES[kind], MATCHING[kind]
    oracle: Sequence[float] = ()
    fractions: Sequence[float] = ()
    best, drawn = None, ""
    for estimator, name in ESTIMATOR_TITLES.items():
        points = document.samples(f"sparsification_curve_{replay}_{estimator.value}_{kind}_{by}")
        if points:
            fractions, left, oracle = zip(*points, strict=True)
            colour, line = ESTIMATOR_COLOURS[estimator], ESTIMATOR_LINES[estimator]
            axes.plot(fractions, left, linestyle=line, color=colour, linewidth=2, label=name)
            best, drawn = document.value(f"sparsification_{replay}_{estimator.value}_{kind}_{by}"), name
    if not fractions or best is None:
        undetermined(axes, title, TOO_FEW if _judged(document, replay) else NOT_JUDGED)
        return
    axes.plot([0, 1], [1, 1], color=GREY, linewidth=1.6, linestyle=(0, (1, 1)), label="random")
    axes.plot(fractions, oracle, color=INK, linewidth=1.3, linestyle=(0, (5, 1)), label=f"oracle ({drawn})")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter("{x:.0%}")
    told = f"{title} by {UNCERTAINTY_TITLES[by]}\n{drawn}: gain {best:.2f} (1: oracle, 0: random)"
    dress(axes, told, "share dropped, most uncertain first", "error left / error of all")


def reliability(document: Document, replay: str) -> "Figure | None":
    """Draw accuracy over confidence, as predicted and after the temperature."""
    if not _judged(document, replay):
        return None
    figure, panels = canvas(1, 2, (10, 5.2))
    for axes, (stage, title) in zip(panels, STAGES, strict=True):
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1.2, label="as it should be")
        for estimator, name in ESTIMATOR_TITLES.items():
            bins = document.samples(f"reliability_{replay}_{estimator.value}_{stage}")
            ece = document.value(f"calibration_{replay}_{estimator.value}_{stage}")
            if bins and ece is not None:
                confidence, accuracy, _ = zip(*bins, strict=True)
                style = {"linestyle": ESTIMATOR_LINES[estimator], "color": ESTIMATOR_COLOURS[estimator]}
                axes.plot(confidence, accuracy, marker="o", markersize=4, label=f"{name}: ECE {ece:.3f}", **style)
        axes.legend(fontsize=9, frameon=False, loc="upper left")
        axes.set(xlim=(0, 1), ylim=(0, 1))
        dress(axes, f"confidence {title}", "confidence (mean of the bin)", "accuracy")
    return figure


def coverage(document: Document, replay: str) -> "Figure | None":
    """Draw the share of box errors inside central intervals over their level, by box parameter, of ensemble x MC."""
    found = [document.sample(f"coverage_{replay}_ensemble_mc_dropout_{stage}") for stage in ("raw", "scaled")]
    if found[0] is None or found[1] is None:
        return None
    figure, panels = canvas(1, 2, (10, 5.2))
    for axes, sample, title in zip(
        panels, found, ("variances as predicted", "variances scaled on control drives"), strict=True
    ):
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1.2, label="as it should be")
        levels = [float(level) for level in sample["levels"]]  # type: ignore[index]
        for i, parameter in enumerate(sample["parameters"]):  # type: ignore[index]
            shares = [values[i] for values in sample["levels"].values()]  # type: ignore[index]
            marker = "osDv^Pd"[i % 7]
            label = parameter.replace("_", " ")
            axes.plot(levels, shares, marker=marker, markersize=4.5, color=PARAMETERS[i % 7], linewidth=1.4, label=label)
        axes.set(xlim=(0.4, 1), ylim=(0, 1.02))
        dress(axes, title, "level of the interval", "share of the errors inside")
    legend_below(figure, panels, 4)
    return figure


def held_out(document: Document) -> "Figure | None":
    """Draw how well each score tells a class that training never saw: AUROC by score, estimator and class."""
    settings = document.settings.held_out
    scores = _held_out_scores(document)
    if settings is None or not scores:
        return None
    figure, panels = canvas(1, len(settings.classes), (2.2 + 2.6 * len(settings.classes), 1.9 + 0.42 * len(scores)))
    for axes, class_name in zip(panels, settings.classes, strict=True):
        for i, (estimator, title) in enumerate(ESTIMATOR_TITLES.items()):
            values = {s: _auroc(document, estimator.value, s, class_name) for s in scores}
            points = [(value, place + 0.14 * (i - 1.5)) for place, value in enumerate(values.values()) if value is not None]
            if points:
                x, y = zip(*points, strict=True)
                axes.plot(x, y, "osD^"[i], color=ESTIMATOR_COLOURS[estimator], markersize=6, label=title)
        axes.axvline(0.5, color=GREY, linewidth=1.2, linestyle=(0, (1, 1)))
        axes.set_yticks(range(len(scores)), [score.replace("_", " ") for score in scores])
        axes.set_ylim(len(scores) - 0.5, -0.5)
        if axes is not panels[0]:
            axes.set_yticklabels([])
        dress(axes, f"never saw {class_name.replace('_', ' ')}", "AUROC (0.5: chance)")
    limits = [axes.get_xlim() for axes in panels]
    for axes in panels:
        axes.set_xlim(min(0.45, *(left for left, _ in limits)), max(0.75, *(right for _, right in limits)))
    legend_below(figure, panels, 4)
    return figure


def _held_out_scores(document: Document) -> list[str]:
    names = [figure["name"] for figure in document.content["figures"]]
    prefixes = [f"auroc_{estimator.value}_" for estimator in ESTIMATOR_TITLES]
    found = dict.fromkeys(name.removeprefix(p) for p in reversed(prefixes) for name in names if name.startswith(p))
    return [score for score in found if score]


def _auroc(document: Document, estimator: str, score: str, class_name: str) -> float | None:
    samples = document.samples(f"auroc_{estimator}_{score}")
    return next((float(sample["value"]) for sample in samples if sample["class"] == class_name), None)


def _judged(document: Document, replay: str) -> bool:
    return any(document.samples(f"calibration_{replay}_{e.value}_{stage}") for e in ESTIMATOR_TITLES for stage, _ in STAGES)
