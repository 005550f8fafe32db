"""How crops and boxes look, class by class: what is compared of simulated and real frames."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quandary.labels import BACKGROUND, CLASSES, LABEL_CLASSES, FrameLabels
from quandary_server.datasets.kitti import KittiFolder
from quandary_server.datasets.statistics import PERCENTILES, FolderStatistics, LabelledFrame, folder_statistics, labelled_frames
from quandary_server.detector.examples import Examples
from quandary_server.frustum.raster import GEOMETRY, GEOMETRY_CENTRE, GEOMETRY_SCALE
from quandary_server.simulator.drive import drive_frames
from quandary_server.simulator.settings import FleetSettings

SHOWN = (10, 50, 90)
"""Percentiles that are told."""


@dataclass(frozen=True)
class Looks:
    """Crops: the share of each class among those of objects, Background's among all, the median points of each class's.

    box_points: percentiles 10, 50, 90 of the LiDAR points in the labels' boxes.
    """

    shares: Mapping[str, float]
    background_share: float
    crop_points: Mapping[str, float]
    box_points: Mapping[str, tuple[float, ...]]


def looks(examples: Examples, statistics: FolderStatistics) -> Looks:
    """Return the looks of N >= 1 crops and of the folder that they were cut from."""
    counts = dict(zip(CLASSES, np.bincount(examples.classes, minlength=len(CLASSES)).tolist(), strict=True))
    background = counts.pop(BACKGROUND)
    objects = sum(counts.values())
    points = crop_points(examples)
    return Looks(
        shares={name: count / objects for name, count in counts.items() if count},
        background_share=background / len(examples),
        crop_points={
            name: float(np.median(points[of_class]))
            for index, name in enumerate(CLASSES)
            if (of_class := examples.classes == index).any()
        },
        box_points={
            name: tuple(found.points[PERCENTILES.index(percentile)] for percentile in SHOWN)
            for name in LABEL_CLASSES
            if (found := statistics.classes.get(name)) is not None
        },
    )


def crop_points(examples: Examples) -> NDArray[np.int64]:
    """Return the LiDAR points (N,) in each crop, from the logarithm of their number that the net is given."""
    column = GEOMETRY.index("log_points")
    logs = examples.geometry[:, column].astype(np.float64) * GEOMETRY_SCALE[column] + GEOMETRY_CENTRE[column]
    return np.asarray(np.rint(np.expm1(logs)), np.int64)


def real_statistics(folder: Path) -> FolderStatistics:
    """Return the figures of a folder's labels, all splits together."""
    return folder_statistics(labelled_frames(KittiFolder(folder), lambda _: ()))


def simulated_statistics(fleet: FleetSettings) -> FolderStatistics:
    """Return the figures of a fleet's labels, those of its pool drives."""
    return folder_statistics(_simulated_frames(fleet))


def _simulated_frames(fleet: FleetSettings) -> Iterator[LabelledFrame]:
    for drive in range(fleet.pool_drives):
        for frame in drive_frames(fleet, drive):
            yield LabelledFrame(frame.points, FrameLabels("simulated", frame.content.labels))
