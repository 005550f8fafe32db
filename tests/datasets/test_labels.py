from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quandary.errors import InvalidArgument
from quandary.geometry import Box3D, Calibration, ImageBox
from quandary.labels import LABEL_CLASSES, Label
from quandary_server.datasets.labels import LabelFile, format_labels, parse_labels
from quandary_server.simulator.camera import camera_calibration

NAME = "label_2/000002.txt"
CAR = "Car 0.10 1 -1.5 100 150 200 220 1.5 1.6 4.0 2.0 1.65 20.0 -1.57"
DONT_CARE = "DontCare -1 -1 -10 500 170 600 200 -1 -1 -1 -1000 -1000 -1000 -10"

boxes = st.builds(
    Box3D,
    x_m=st.floats(2, 90),
    y_m=st.floats(-60, 60),
    z_m=st.floats(-4, 4),
    length_m=st.floats(0.2, 30),
    width_m=st.floats(0.2, 4),
    height_m=st.floats(0.2, 5),
    yaw_rad=st.floats(-np.pi, np.pi),
)
labels = st.builds(
    Label,
    class_name=st.sampled_from(LABEL_CLASSES),
    box=boxes,
    truncation=st.none() | st.integers(0, 100).map(lambda share: share / 100),
    occlusion=st.none() | st.integers(0, 3),
)


def test_a_label_is_turned_into_the_lidar_frame(calibration: Calibration) -> None:
    content = parse_labels(NAME, [CAR], calibration)
    (label,) = content.labels
    # Camera: 2 m to the right, ground 1.65 m below, 20 m ahead; heading -1.57 about y down is straight ahead.
    assert (label.box.x_m, label.box.y_m, label.box.z_m) == pytest.approx((20.0, -2.0, -1.65 + 0.75))
    assert (label.box.length_m, label.box.width_m, label.box.height_m) == (4.0, 1.6, 1.5)
    assert label.box.yaw_rad == pytest.approx(0.0, abs=1e-3)
    assert (label.class_name, label.truncation, label.occlusion) == ("Car", 0.1, 1)
    assert content.boxes == (ImageBox(100, 150, 200, 220),)


@pytest.mark.parametrize(
    ("rotation_y", "yaw"), [(0.0, -np.pi / 2), (-np.pi / 2, 0.0), (np.pi / 2, np.pi), (-2.0, 2.0 - np.pi / 2)]
)
def test_headings_turn_the_other_way_round(calibration: Calibration, rotation_y: float, yaw: float) -> None:
    line = CAR.rsplit(" ", 1)[0] + f" {rotation_y}"
    found = parse_labels(NAME, [line], calibration).labels[0].box.yaw_rad
    assert np.cos(found - yaw) == pytest.approx(1.0)


@given(label=labels)
def test_what_is_written_is_read_back_to_a_millimetre(label: Label) -> None:
    calibration = camera_calibration()
    written = format_labels(LabelFile((label,), (ImageBox(1.25, 2.5, 300.75, 200),), ()), calibration)
    content = parse_labels(NAME, written, calibration)
    (found,) = content.labels
    np.testing.assert_allclose(found.box.centre, label.box.centre, atol=1e-3)
    np.testing.assert_allclose(found.box.extents, label.box.extents, atol=1e-4)
    assert np.cos(found.box.yaw_rad - label.box.yaw_rad) > 1 - 1e-6
    assert (found.class_name, found.truncation, found.occlusion) == (label.class_name, label.truncation, label.occlusion)
    assert content.boxes == (ImageBox(1.25, 2.5, 300.75, 200),)


def test_all_fifteen_columns_are_written(calibration: Calibration) -> None:
    content = parse_labels(NAME, [CAR, DONT_CARE], calibration)
    lines = format_labels(content, calibration)
    assert [len(line.split()) for line in lines] == [15, 15]
    assert lines[1].startswith("DontCare -1 -1 -10 500.00 170.00 600.00 200.00")
    # alpha is the heading less the bearing of the object.
    assert float(lines[0].split()[3]) == pytest.approx(-1.57 - np.arctan2(2.0, 20.0), abs=1e-3)


def test_regions_not_labelled_are_ignored_regions(calibration: Calibration) -> None:
    content = parse_labels(NAME, [CAR, DONT_CARE], calibration)
    assert content.ignored_regions == (ImageBox(500, 170, 600, 200),)
    assert len(content.labels) == len(content.boxes) == 1


def test_a_file_without_lines_has_no_labels_and_a_blank_line_is_none(calibration: Calibration) -> None:
    assert parse_labels(NAME, [], calibration) == LabelFile()
    assert parse_labels(NAME, ["", CAR, " \t", CAR, ""], calibration).lines == (2, 4)


def test_every_wrong_line_of_a_file_is_named(calibration: Calibration) -> None:
    with pytest.raises(InvalidArgument) as error:
        parse_labels(NAME, ["Car", CAR, CAR.replace("Car", "Bus")], calibration)
    assert [violation.field for violation in error.value.violations] == ["label_2/000002.txt:1", "label_2/000002.txt:3"]


@pytest.mark.parametrize(("level", "expected"), [("0", 0.0), ("1", None), ("2", None), ("-1", None)])
def test_truncation_levels_of_tracking_labels_are_no_shares(
    calibration: Calibration, level: str, expected: float | None
) -> None:
    line = CAR.replace("0.10", level, 1)
    assert parse_labels(NAME, [line], calibration, truncation_is_level=True).labels[0].truncation == expected


@pytest.mark.parametrize(
    ("line", "field", "what"),
    [
        (CAR + " 0.9 1", "label_2/000002.txt:2", "17 columns"),
        (CAR.rsplit(" ", 1)[0], "label_2/000002.txt:2", "14 columns"),
        (CAR.replace("Car", "Bus"), "label_2/000002.txt:2", "'Bus'"),
        (CAR.replace("Car", "Background"), "label_2/000002.txt:2", "'Background'"),
        (CAR.replace("20.0", "twenty"), "label_2/000002.txt:2", "'twenty'"),
        (CAR.replace("20.0", "nan"), "label_2/000002.txt:2", "'nan'"),
        (CAR.replace("20.0", "5000"), "label_2/000002.txt:2.x_m", "5000"),
        (CAR.replace("1.5 1.6 4.0", "0 1.6 4.0"), "label_2/000002.txt:2.height_m", "0"),
        (CAR.replace("1.5 1.6 4.0", "1.5 -1.6 4.0"), "label_2/000002.txt:2.width_m", "-1.6"),
        (CAR.replace("1.5 1.6 4.0", "1.5 1.6 0"), "label_2/000002.txt:2.length_m", "0"),
        (CAR.replace("100 150 200", "200 150 100"), "label_2/000002.txt:2.left_px", "200"),
        (CAR.replace("0.10 1", "1.5 1"), "label_2/000002.txt:2.truncation", "1.5"),
        (CAR.replace("0.10 1", "2 1"), "label_2/000002.txt:2.truncation", "2"),
        (CAR.replace("0.10 1", "0.10 4"), "label_2/000002.txt:2.occlusion", "4"),
        (CAR.replace("0.10 1", "0.10 0.5"), "label_2/000002.txt:2.occlusion", "0.5"),
        (DONT_CARE.replace("500", "x"), "label_2/000002.txt:2", "'x'"),
    ],
)
def test_a_malformed_line_is_refused_by_file_and_line(calibration: Calibration, line: str, field: str, what: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        parse_labels(NAME, [CAR, line], calibration)
    violation = error.value.violations[0]
    assert violation.field == field
    assert what in violation.value


@given(label=labels)
def test_what_is_written_exactly_is_read_back_to_a_nanometre(label: Label) -> None:
    calibration = camera_calibration()
    written = format_labels(LabelFile((label,), (ImageBox(1.25, 2.5, 300.75, 200),), ()), calibration, exact=True)
    (found,) = parse_labels(NAME, written, calibration).labels
    assert (found.class_name, found.truncation, found.occlusion) == (label.class_name, label.truncation, label.occlusion)
    assert astuple(found.box)[:6] == pytest.approx(astuple(label.box)[:6], abs=1e-8)
    assert np.cos(found.box.yaw_rad - label.box.yaw_rad) == pytest.approx(1.0, abs=1e-15)


@given(label=labels)
def test_what_was_read_from_a_file_is_written_as_it_stood_there(label: Label) -> None:
    calibration = camera_calibration()
    content = LabelFile((label,), (ImageBox(1.25, 2.5, 300.75, 200),), (ImageBox(0.125, 1.0, 2.0, 3.0),))
    once = parse_labels(NAME, format_labels(content, calibration), calibration)
    written = format_labels(once, calibration, exact=True)
    assert parse_labels(NAME, written, calibration) == once
    assert written[0].split()[4:15] == [
        f"{number:.4f}".rstrip("0").ljust(len(f"{number:.2f}"), "0")
        for number in map(float, format_labels(content, calibration)[0].split()[4:15])
    ]


def test_a_score_behind_the_columns_is_written_and_left_alone(calibration: Calibration) -> None:
    content = parse_labels(NAME, [CAR, CAR, DONT_CARE], calibration)
    first, second, region = format_labels(content, calibration, exact=True, scores=[0.25, 1.0])
    assert (first.split()[15:], second.split()[15:], len(region.split())) == (["0.2500"], ["1.0000"], 15)
    assert parse_labels(NAME, [first, second, region], calibration) == content
    with pytest.raises(InvalidArgument, match="'high', must be a number"):
        parse_labels(NAME, [f"{CAR} high"], calibration)
