from pathlib import Path

import numpy as np
import pytest

from quandary.geometry import Box3D, ImageBox
from quandary.labels import FrameLabels, Label
from quandary_server.datasets.kitti import KittiFolder
from quandary_server.datasets.matching import Outcome, OutcomeKind
from quandary_server.datasets.proposals import detection_proposals, label_proposals
from quandary_server.datasets.statistics import LabelledFrame, folder_statistics, labelled_frames


def car(x_m: float, occlusion: int | None = 0) -> Label:
    return Label("Car", Box3D(x_m, 0.0, 0.0, 2.0, 2.0, 2.0, 0.0), occlusion=occlusion)


def points(*xs: float) -> np.ndarray:
    return np.array([[x, 0.0, 0.0, 0.0] for x in xs], np.float32).reshape(-1, 4)


def test_the_figures_of_a_folder_counted_by_hand() -> None:
    walker = Label("Pedestrian", Box3D(3.0, 4.0, 0.0, 1.0, 1.0, 1.0, 0.0))
    found = [Outcome(OutcomeKind.OBJECT, car(10.0), 0.9), Outcome(OutcomeKind.BACKGROUND, None, 0.0)]
    ignored = [Outcome(OutcomeKind.IGNORED, None, 0.0), Outcome(OutcomeKind.OBJECT, car(30.0), 0.8)]
    frames = [
        LabelledFrame(points(10.0, 10.5, 50.0), FrameLabels("a", [car(10.0), walker]), found),
        LabelledFrame(points(30.0), FrameLabels("b", [car(30.0, 2), car(50.0, 2)], [ImageBox(0, 0, 1, 1)]), ignored),
    ]
    figures = folder_statistics(frames)
    assert (figures.frames, figures.labels_per_frame, figures.ignored_regions_per_frame) == (2, 2.0, 0.5)
    assert (figures.crops_per_frame, figures.background_share, figures.ignored_proposals_share) == (1.5, 1 / 3, 0.25)
    assert figures.found_labels_share == 0.5
    cars = figures.classes["Car"]
    assert (cars.count, cars.share) == (3, 0.75)
    assert cars.distance_m[2] == 30.0
    assert cars.points[2] == 1.0
    assert cars.without_points_share == pytest.approx(1 / 3)
    assert cars.occlusion_shares == pytest.approx((1 / 3, 0, 2 / 3, 0))
    assert figures.classes["Pedestrian"].distance_m == (5.0,) * 5
    assert "Tram" not in figures.classes


def test_an_empty_folder_has_figures_without_a_division_by_zero() -> None:
    figures = folder_statistics([])
    assert (figures.frames, figures.labels_per_frame, figures.background_share, figures.points_per_frame) == (0, 0.0, 0.0, ())
    assert figures.classes == {}


def test_a_folder_is_looked_at_with_any_proposals(folder: Path) -> None:
    kitti = KittiFolder(folder)
    own = folder_statistics(labelled_frames(kitti, lambda frame: label_proposals(frame, 0, 0.0)))
    assert (own.frames, own.found_labels_share, own.classes["Car"].points[2]) == (3, 1.0, 1.0)
    detected = folder_statistics(labelled_frames(kitti, detection_proposals, split="evaluation"))
    assert (detected.frames, detected.found_labels_share, detected.crops_per_frame) == (1, 0.0, 0.0)
