"""The demo's outcome as a picture and as figures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from quandary.labels import CLASSES
from quandary_server.bench.figures import Figure, at_most, reported
from quandary_server.detector.assessment import Assessment
from quandary_server.experiment.demo.curves import Arm
from quandary_server.experiment.demo.story import Outcome
from quandary_server.uncertainty.sparsification import Sparsification, sparsify

MAX_SECONDS = 300.0
CURVES = (
    ("macro_recall", "macro recall", "up"),
    ("nll", "NLL (nats)", "down"),
    ("median_centre_error_m", "median centre error (m)", "down"),
)
COLOURS = {"active": "#c2410c", "random": "#64748b"}
MIN_ERRORS, MIN_CROPS = 20, 100


def outcome_figures(outcome: Outcome) -> list[Figure]:
    """Return every figure of the demo; samples of a curve's figure are its rounds."""
    figures = [
        at_most("seconds", outcome.seconds["total"], "s", MAX_SECONDS, [outcome.seconds]),
        at_most("failed_answers", float(sum(outcome.loop.problems.values())), "answers", 0, [dict(outcome.loop.problems)]),
        reported("answers", float(outcome.loop.answers.total()), "answers", [dict(outcome.loop.answers)]),
        reported("generations", float(len(set(outcome.generations))), "generations", list(outcome.generations)),
    ]
    for arm in (outcome.active, outcome.random):
        figures.append(reported(f"{arm.name}_labels", float(arm.points[-1].labels), "crops", [p.labels for p in arm.points]))
        for name, unit in (("macro_recall", "share"), ("nll", "nats"), ("median_centre_error_m", "m"), ("iou", "share")):
            values = [getattr(point, name) for point in arm.points]
            figures.append(reported(f"{arm.name}_{name}", values[-1], unit, values))
        intervals = [list(point.macro_recall_interval) for point in arm.points]
        width = intervals[-1][1] - intervals[-1][0]
        figures.append(reported(f"{arm.name}_macro_recall_interval", width, "width of the 95 % interval", intervals))
        mix = {name: arm.queried[name] for name in CLASSES if arm.queried[name]}
        figures.append(reported(f"{arm.name}_classes_queried", float(len(mix)), "classes", [mix]))
    curve = class_sparsification(outcome.active.last)
    if curve is not None:
        samples = [[round(float(v), 4) for v in curve.curve]]
        figures.append(reported("sparsification_class", curve.gain, "1 - AUSE / AUSE of random", samples))
    return figures


def class_sparsification(assessment: Assessment | None) -> Sparsification | None:
    """Return the sparsification of the class error by predictive entropy; None for under 20 errors or 100 crops, as noise."""
    if assessment is None or assessment.wrong.sum() < MIN_ERRORS or len(assessment.wrong) < MIN_CROPS:
        return None
    return sparsify(assessment.wrong, assessment.scores.predictive_entropy)


def draw(outcome: Outcome, path: Path, title: str) -> None:
    """Draw curves of both arms, the classes queried and the sparsification curve into a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 3, figsize=(13, 7.4), layout="constrained")
    arms = (outcome.random, outcome.active)
    for axis, (name, label, better) in zip(axes.flat[:3], CURVES, strict=True):
        for arm in arms:
            values = [getattr(point, name) for point in arm.points]
            labels = [point.labels for point in arm.points]
            axis.plot(labels, values, "o-", color=COLOURS[arm.name], label=arm.name)
            if name == "macro_recall":
                low, high = zip(*(point.macro_recall_interval for point in arm.points), strict=True)
                axis.fill_between(labels, low, high, color=COLOURS[arm.name], alpha=0.12, linewidth=0)
        axis.set(xlabel="labelled crops", title=f"{label}, better is {better}")
        axis.grid(alpha=0.3)
    axes[0, 0].legend()
    _draw_classes(axes[1, 0], arms)
    _draw_sparsification(axes[1, 1], class_sparsification(outcome.active.last))
    _draw_swaps(axes[1, 2], outcome)
    figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _draw_classes(axis: object, arms: Sequence[Arm]) -> None:
    names = [name for name in CLASSES if any(arm.queried[name] for arm in arms)]
    places = np.arange(len(names))
    for i, arm in enumerate(arms):
        shares = [arm.queried[name] / max(arm.queried.total(), 1) for name in names]
        axis.barh(places + (i - 0.5) * 0.4, shares, 0.4, color=COLOURS[arm.name], label=arm.name)  # type: ignore[attr-defined]
    axis.set_yticks(places, names)  # type: ignore[attr-defined]
    axis.invert_yaxis()  # type: ignore[attr-defined]
    axis.set(xlabel="share of the labelled crops", title="classes queried")  # type: ignore[attr-defined]


def _draw_sparsification(axis: object, curve: Sparsification | None) -> None:
    if curve is None:
        axis.text(0.5, 0.5, f"fewer than {MIN_ERRORS} errors\nor {MIN_CROPS} crops:\nundetermined", ha="center", va="center")  # type: ignore[attr-defined]
        axis.set(title="sparsification of the class error")  # type: ignore[attr-defined]
        return
    for values, label, style in (
        (np.ones_like(curve.fraction), "random", ":"),
        (curve.curve, "predictive entropy", "-"),
        (curve.oracle, "oracle", "--"),
    ):
        axis.plot(curve.fraction, values, style, color="#0f172a", label=label)  # type: ignore[attr-defined]
    axis.legend()  # type: ignore[attr-defined]
    axis.grid(alpha=0.3)  # type: ignore[attr-defined]
    axis.set(  # type: ignore[attr-defined]
        xlabel="share dropped, most uncertain first",
        ylabel="error left / error of all",
        title=f"sparsification of the class error (gain {curve.gain:.2f})",
    )


def _draw_swaps(axis: object, outcome: Outcome) -> None:
    generations = list(dict.fromkeys(outcome.generations))
    counts = [outcome.loop.answers[generation] for generation in generations]
    axis.bar(range(len(generations)), counts, color="#0369a1")  # type: ignore[attr-defined]
    axis.set_xticks(range(len(generations)), [g.partition("-")[0] for g in generations], rotation=30)  # type: ignore[attr-defined]
    failed = sum(outcome.loop.problems.values())
    axis.set(title=f"answers by generation, {failed} failed in {len(generations) - 1} swaps", ylabel="answers")  # type: ignore[attr-defined]
