"""What the match of simulator and real frames tells: figures in the one shape, and rows of tables made of them alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quandary.labels import BACKGROUND, CLASSES, LABEL_CLASSES
from quandary_server.bench.figures import Figure, at_most, reported
from quandary_server.evaluation.unpaired import difference_interval
from quandary_server.experiment.study.looks import Looks
from quandary_server.experiment.study.match import REAL, SIM_TO_REAL, SIMULATED, WIDE_TO_REAL, Answers, Match
from quandary_server.experiment.study.published import MEDIAN_BOX_POINTS, label_shares
from quandary_server.experiment.study.shown import shortened, shown

COMPARED = ("Car", "Pedestrian", BACKGROUND)
BOUNDED = ("Car", "Pedestrian")
MAX_POINTS = 5.0

MIN_FRAMES = 2
"""A class that fewer frames show on a side is not compared: there is no interval."""

PUBLISHED = "published"

LOOKS_COLUMNS = (
    "class",
    "#share (%),\nreal",
    "#share (%),\nsimulated",
    "#share (%),\nall KITTI",
    "#points in\nbox, real",
    "#points in box,\nsimulated",
    "#points in box,\nall KITTI",
    "#points in\ncrop, real",
    "#points in crop,\nsimulated",
)

RECALL_COLUMNS = (
    "class",
    "#real",
    "#simulated",
    "#real less simulated\n(points)",
    "#95 %",
    "#simulation,\njudged on real",
    "#simulation of many\ndrives, judged on real",
)


@dataclass(frozen=True)
class Recall:
    """How often one class was answered right: by seed, and values (N,) 0 or 1 of all seeds' answers with their frames (N,)."""

    by_seed: tuple[float, ...]
    values: NDArray[np.float64]
    frames: NDArray[np.str_]

    @property
    def mean(self) -> float:
        """Mean over all answers."""
        return float(self.values.mean())

    @property
    def frame_count(self) -> int:
        """Frames that show the class."""
        return len(np.unique(self.frames))


def match_figures(match: Match) -> list[Figure]:
    """Return the figures: differences in accuracy first, two of them held to a bar, then recalls, shares and points.

    A difference is left out where a side has too few frames of the class. Its interval, by frame, holds what frames were judged
    on for chance; which were trained on it does not.
    """
    return [shortened(figure) for figure in _all(match)]


def recall_of(answers: Sequence[Answers], judged: str, class_name: str) -> Recall | None:
    """Return the recall of a class over all seeds, None where it does not occur."""
    index = CLASSES.index(class_name)
    parts = [(a.predicted[a.classes == index] == index, a.frames[a.classes == index]) for a in answers if a.judged == judged]
    parts = [(right, frames) for right, frames in parts if len(right)]
    if not parts:
        return None
    values = np.concatenate([right for right, _ in parts]).astype(np.float64)
    return Recall(tuple(float(right.mean()) for right, _ in parts), values, np.concatenate([frames for _, frames in parts]))


def looks_rows(figures: Sequence[Figure]) -> list[list[str]]:
    """Return the rows under LOOKS_COLUMNS."""
    columns = [
        *(("share", source, ".1f") for source in (REAL, SIMULATED, PUBLISHED)),
        *(("box_points", source, ".0f") for source in (REAL, SIMULATED, PUBLISHED)),
        *(("crop_points", source, ".0f") for source in (REAL, SIMULATED)),
    ]
    return [
        [name, *shown(figures, [_name(what, name, source) for what, source, _ in columns], [how for *_, how in columns])]
        for name in CLASSES
    ]


def recall_rows(figures: Sequence[Figure]) -> list[list[str]]:
    """Return the rows under RECALL_COLUMNS."""
    intervals = {figure.name: figure.samples[0]["interval"] for figure in figures if figure.name.startswith("match_")}
    rows = []
    for name in COMPARED:
        difference = _name("match", name, "points")
        low, high = intervals.get(difference, (float("nan"), float("nan")))
        recalls = shown(figures, [_name("recall", name, j) for j in (REAL, SIMULATED, SIM_TO_REAL, WIDE_TO_REAL)], [".3f"] * 4)
        signed = next((f"{f.samples[0]['real_less_simulated']:+.1f}" for f in figures if f.name == difference), "-")
        rows.append([name, *recalls[:2], signed, f"{low:.1f} to {high:.1f}", *recalls[2:]])
    return rows


def _all(match: Match) -> Iterator[Figure]:
    found = {
        (judged, name): recall
        for judged in (REAL, SIMULATED, SIM_TO_REAL, WIDE_TO_REAL)
        for name in COMPARED
        if (recall := recall_of(match.answers, judged, name)) is not None
    }
    for name in COMPARED:
        real, simulated = found.get((REAL, name)), found.get((SIMULATED, name))
        if real and simulated and min(real.frame_count, simulated.frame_count) >= MIN_FRAMES:
            yield _difference(name, real, simulated)
    for (judged, name), recall in found.items():
        yield reported(_name("recall", name, judged), recall.mean, "share", [*recall.by_seed])
    yield reported("training_crops", float(match.crops), "crops")
    for name, objects in match.objects.items():
        yield reported(_name("training_objects", name, REAL), float(objects), "objects")
    for source, seen in match.looks.items():
        yield from _look_figures(source, seen)
    for name, share in label_shares().items():
        yield reported(_name("share", name, PUBLISHED), 100 * share, "% of labels")
        yield reported(_name("box_points", name, PUBLISHED), MEDIAN_BOX_POINTS[name], "points, median")


def _difference(name: str, real: Recall, simulated: Recall) -> Figure:
    """Return the absolute difference in percentage points, with its sign and interval by frame behind it."""
    rng = np.random.default_rng(0)
    difference = 100 * (real.mean - simulated.mean)
    interval = difference_interval(
        100 * real.values, real.frames.tolist(), 100 * simulated.values, simulated.frames.tolist(), rng
    )
    sample = {
        "real_less_simulated": difference,
        "interval": list(interval),
        "frames": {REAL: real.frame_count, SIMULATED: simulated.frame_count},
    }
    figure_name, unit = _name("match", name, "points"), "percentage points"
    if name in BOUNDED:
        return at_most(figure_name, abs(difference), unit, MAX_POINTS, [sample])
    return reported(figure_name, abs(difference), unit, [sample])


def _look_figures(source: str, seen: Looks) -> Iterator[Figure]:
    for name in LABEL_CLASSES:
        yield reported(_name("share", name, source), 100 * seen.shares.get(name, 0.0), "% of objects' crops")
    yield reported(_name("share", BACKGROUND, source), 100 * seen.background_share, "% of all crops")
    for name, points in seen.crop_points.items():
        yield reported(_name("crop_points", name, source), points, "points, median")
    for name, percentiles in seen.box_points.items():
        yield reported(_name("box_points", name, source), percentiles[1], "points, median", percentiles)


def _name(what: str, class_name: str, which: str) -> str:
    return f"{what}_{class_name.lower()}_{which}"
