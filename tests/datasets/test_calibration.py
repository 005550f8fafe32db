from pathlib import Path

import numpy as np
import pytest

from quandary.errors import InvalidArgument
from quandary.geometry import Calibration
from quandary_server.datasets.calibration import SIZES_PX, format_calibration, parse_calibration

NAME = "calib/000000.txt"


def lines_with(focal_px: float = 721.5377) -> list[str]:
    return [
        f"P2: {focal_px} 0 600 45 0 {focal_px} 180 0.2 0 0 1 0.003",
        "R0_rect: 1 0 0 0 1 0 0 0 1",
        "Tr_velo_to_cam: 0 -1 0 0.1 0 0 -1 -0.2 1 0 0 -0.3",
        "Tr_imu_to_velo: 1 0 0 0 0 1 0 0 0 0 1 0",
        "",
    ]


def test_a_point_is_projected_with_the_translations_of_both_matrices() -> None:
    calibration = parse_calibration(NAME, lines_with(721.5377))
    pixels, depth = calibration.project(np.array([[10.3, 2.0, 0.3]]))
    # In the rectified frame the point lies at (-2 + 0.1, -0.3 - 0.2, 10.3 - 0.3), and P2 adds (45, 0.2, 0.003).
    expected_depth = 10.0 + 0.003
    assert depth[0] == pytest.approx(expected_depth)
    assert pixels[0, 0] == pytest.approx((721.5377 * -1.9 + 600 * 10 + 45) / expected_depth)
    assert pixels[0, 1] == pytest.approx((721.5377 * -0.5 + 180 * 10 + 0.2) / expected_depth)


def test_the_rectifying_rotation_comes_after_the_rigid_transform() -> None:
    turned = lines_with()
    turned[1] = "R0_rect: 0 -1 0 1 0 0 0 0 1"
    calibration = parse_calibration(NAME, turned)
    expected = np.array([[0.0, 0.0, 1.0, 0.2], [0.0, -1.0, 0.0, 0.1], [1.0, 0.0, 0.0, -0.3]])
    np.testing.assert_allclose(calibration.lidar_to_camera, expected)


def test_a_written_calibration_is_read_back(calibration: Calibration) -> None:
    found = parse_calibration(NAME, format_calibration(calibration))
    np.testing.assert_array_equal(found.projection, calibration.projection)
    np.testing.assert_array_equal(found.lidar_to_camera, calibration.lidar_to_camera)
    assert (found.image_width_px, found.image_height_px) == (1200, 400)


def test_lines_stand_where_readers_by_line_number_look_for_them(calibration: Calibration) -> None:
    keys = [line.split(":")[0] for line in format_calibration(calibration)]
    assert keys[:7] == ["P0", "P1", "P2", "P3", "R0_rect", "Tr_velo_to_cam", "Tr_imu_to_velo"]


@pytest.mark.parametrize("focal_px", SIZES_PX)
def test_the_image_size_is_known_by_focal_length(focal_px: float) -> None:
    calibration = parse_calibration(NAME, lines_with(focal_px))
    assert (calibration.image_width_px, calibration.image_height_px) == SIZES_PX[focal_px]


def test_an_unknown_focal_length_is_refused_by_name() -> None:
    with pytest.raises(InvalidArgument, match="focal length 700 px") as error:
        parse_calibration(NAME, lines_with(700.0))
    assert error.value.violations[0].field == "calib/000000.txt.P2"


def test_a_stated_size_and_then_an_image_go_before_the_focal_length(tmp_path: Path) -> None:
    stated = [*lines_with(), "S_rect_02: 640 480"]
    image = tmp_path / "000000.png"
    image.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR" + (1242).to_bytes(4, "big") + (375).to_bytes(4, "big"))
    assert parse_calibration(NAME, stated).image_width_px == 640
    assert parse_calibration(NAME, [*lines_with(), "S_rect_02: 1.242000e+03 3.750000e+02"]).image_width_px == 1242
    assert parse_calibration(NAME, stated, image).image_width_px == 1242


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0 a JPEG of more than 24 bytes"])
def test_an_image_that_is_no_png_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    image = tmp_path / "image_2" / "000000.png"
    image.parent.mkdir()
    image.write_bytes(content)
    with pytest.raises(InvalidArgument, match=r"image_2/000000\.png is no PNG header"):
        parse_calibration(NAME, lines_with(), image)


@pytest.mark.parametrize(
    ("line", "text", "field", "what"),
    [
        (0, "", "calib/000000.txt", "P2 missing"),
        (1, "", "calib/000000.txt", "R0_rect missing"),
        (2, "", "calib/000000.txt", "Tr_velo_to_cam missing"),
        (0, "P2: 1 2 3", "calib/000000.txt:1", "3 values"),
        (1, "R0_rect: 1 0 0 0 1 0 0 0 1 0", "calib/000000.txt:2", "10 values"),
        (2, "Tr_velo_to_cam: 0 -1 0 x 0 0 -1 0 1 0 0 0", "calib/000000.txt:3", "'x'"),
        (2, "Tr_velo_to_cam: 0 -1 0 nan 0 0 -1 0 1 0 0 0", "calib/000000.txt:3", "'nan'"),
        (4, "S_rect_02: 1242", "calib/000000.txt:5", "1 values"),
        (4, "S_rect_02: 1242.7 375", "calib/000000.txt:5", "1242.7 375"),
        (2, "Tr_velo_to_cam: 0 -1 0 0 0 0 -2 0 1 0 0 0", "calib/000000.txt.lidar_to_camera", "off a rotation"),
        (4, "S_rect_02: 0 375", "calib/000000.txt.image_width_px", "0"),
    ],
)
def test_a_malformed_calibration_is_refused_by_file_and_line(line: int, text: str, field: str, what: str) -> None:
    lines = lines_with()
    lines[line] = text
    with pytest.raises(InvalidArgument) as error:
        parse_calibration(NAME, lines)
    violation = error.value.violations[0]
    assert violation.field == field
    assert what in violation.value
