from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from quandary import Calibration, Frame, ImageBox, InvalidArgument, Proposal
from quandary.frames import check_identifier


@pytest.mark.parametrize("value", ["a", "frame-1", "A.b_c-9", "x" * 128, "..."])
def test_identifiers(value: str) -> None:
    assert check_identifier("frame_id", value) == value


@pytest.mark.parametrize("value", ["", ".", "..", "a/b", "a b", "ä", "x" * 129, "a\n", "../a"])
def test_refused_identifiers(value: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        check_identifier("frame_id", value)
    assert error.value.violations[0].field == "frame_id"


@pytest.mark.parametrize(
    ("field", "proposal"),
    [("confidence", {"confidence": 1.1}), ("confidence", {"confidence": np.nan}), ("class_hint", {"class_hint": "x" * 65})],
)
def test_refused_proposals(field: str, proposal: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument) as error:
        Proposal(ImageBox(0, 0, 1, 1), **proposal)
    assert error.value.violations[0].field == field


def test_cropping_leaves_one_crop_per_proposal_and_no_cloud(frame: Frame) -> None:
    cropped = frame.cropped()
    assert cropped.points is None
    assert cropped.crops is not None
    assert len(cropped.crops) == 2
    assert 0 < len(cropped.crops[0]) < 200
    assert (cropped.frame_id, cropped.drive_id, cropped.proposals) == (frame.frame_id, frame.drive_id, frame.proposals)
    assert cropped.cropped() is cropped


def test_crops_larger_than_the_cloud_stay_a_cloud(frame: Frame) -> None:
    assert frame.lightest().crops is not None
    crowded = replace(frame, proposals=[Proposal(ImageBox(0.0, 0.0, 1200.0, 400.0))] * 20)
    assert sum(map(len, crowded.cropped().crops or ())) > len(crowded.points if crowded.points is not None else ())
    assert crowded.lightest() is crowded


def test_a_frame_without_proposals_has_no_crops(calibration: Calibration) -> None:
    frame = Frame("f", calibration, [], points=np.zeros((5, 4), np.float32))
    assert frame.cropped().crops == []


ROW = np.zeros((1, 4), np.float32)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"frame_id": "a b"}, "frame_id"),
        ({"drive_id": "a/b"}, "drive_id"),
        ({"points": None}, "lidar"),
        ({"crops": [ROW, ROW]}, "lidar"),
        ({"points": np.zeros((5, 3), np.float32)}, "cloud"),
        ({"points": np.zeros((5, 4))}, "cloud"),
        ({"points": ROW * np.nan}, "cloud"),
        ({"points": np.array([[0, 0, 0, 0], [np.inf, 0, 0, 0]], np.float32)}, "cloud"),
        ({"points": np.array([[1001, 0, 0, 0]], np.float32)}, "cloud"),
        ({"points": np.array([[0, 0, 0, -0.1]], np.float32)}, "cloud"),
        ({"points": np.array([[0, 0, 0, 1.1]], np.float32)}, "cloud"),
        ({"points": None, "crops": [ROW]}, "crops"),
        ({"points": None, "crops": [ROW, ROW * np.nan]}, "crops[1]"),
        ({"proposals": [Proposal(ImageBox(0, 0, 9, 9)), Proposal(ImageBox(1300, 0, 1400, 9))]}, "proposals[1].box"),
    ],
)
def test_refused_frames(frame: Frame, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        replace(frame, **changes)
    assert [violation.field for violation in error.value.violations] == [field]


def test_a_bad_point_is_named_with_its_row(frame: Frame) -> None:
    points = np.zeros((5, 4), np.float32)
    points[3, 1] = np.nan
    with pytest.raises(InvalidArgument, match="at row 3"):
        replace(frame, points=points)
