import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from quandary import Box3D, Calibration, ImageBox, InvalidArgument

pixels = st.floats(-2000, 2000)
sides = st.floats(0.5, 500)
boxes = st.builds(lambda x, y, w, h: ImageBox(x, y, x + w, y + h), pixels, pixels, sides, sides)
metres = st.floats(-50, 50)
extents = st.floats(0.2, 20)
boxes_3d = st.builds(Box3D, metres, metres, metres, extents, extents, extents, st.floats(-math.pi, math.pi))


def refused(error: pytest.ExceptionInfo[InvalidArgument]) -> list[str]:
    return [violation.field for violation in error.value.violations]


class TestImageBox:
    def test_size(self) -> None:
        box = ImageBox(10, 20, 40, 60)
        assert (box.width_px, box.height_px, box.area_px) == (30, 40, 1200)

    def test_growth_keeps_the_centre(self) -> None:
        assert ImageBox(10, 20, 30, 40).grown(2) == ImageBox(0, 10, 40, 50)

    def test_the_largest_box_grows_no_further(self) -> None:
        largest = ImageBox(-1e6, -1e6, 1e6, 1e6)
        assert largest.grown(1.1) == largest

    def test_clipping(self) -> None:
        assert ImageBox(-5, 10, 30, 99).clipped(20, 50) == ImageBox(0, 10, 20, 50)
        assert ImageBox(20, 10, 30, 20).clipped(20, 50) is None
        assert ImageBox(19.9995, 10, 30, 20).clipped(20, 50) is None

    @given(boxes)
    def test_a_box_reaches_into_an_image_where_clipping_leaves_some_of_it(self, box: ImageBox) -> None:
        assert box.reaches_into(640, 480) == (box.clipped(640, 480) is not None)

    def test_an_edge_or_a_sliver_does_not_reach_into_an_image(self) -> None:
        assert not ImageBox(20, 10, 30, 20).reaches_into(20, 50)
        assert not ImageBox(19.9995, 10, 30, 20).reaches_into(20, 50)
        assert ImageBox(19, 10, 30, 20).reaches_into(20, 50)

    def test_a_quarter_overlap(self) -> None:
        assert ImageBox(0, 0, 2, 2).overlap_px(ImageBox(1, 1, 3, 3)) == 1
        assert ImageBox(0, 0, 2, 2).iou(ImageBox(1, 1, 3, 3)) == pytest.approx(1 / 7)

    @given(boxes, boxes)
    def test_iou_is_symmetric_and_within_bounds(self, a: ImageBox, b: ImageBox) -> None:
        assert a.iou(b) == pytest.approx(b.iou(a))
        assert 0 <= a.iou(b) <= 1 + 1e-9
        assert a.iou(a) == pytest.approx(1)

    @pytest.mark.parametrize(
        ("corners", "field"),
        [
            ((math.nan, 0, 1, 1), "left_px"),
            ((0, math.inf, 1, 1), "top_px"),
            ((0, 0, 2e6, 1), "right_px"),
            ((1, 0, 1, 1), "left_px"),
            ((0, 2, 1, 1), "top_px"),
            ((0, 0, 5e-324, 1), "left_px"),
            ((0, 0, 1, 9e-4), "top_px"),
        ],
    )
    def test_refuses(self, corners: tuple[float, float, float, float], field: str) -> None:
        with pytest.raises(InvalidArgument) as error:
            ImageBox(*corners)
        assert refused(error) == [field]


class TestBox3D:
    def test_corners_of_an_unturned_box(self) -> None:
        corners = Box3D(1, 2, 3, 4, 2, 6, 0).corners()
        assert corners.min(axis=0).tolist() == [-1, 1, 0]
        assert corners.max(axis=0).tolist() == [3, 3, 6]

    def test_a_quarter_turn_swaps_length_and_width(self) -> None:
        corners = Box3D(0, 0, 0, 4, 2, 6, math.pi / 2).corners()
        assert corners.max(axis=0) == pytest.approx([1, 2, 3])

    @given(boxes_3d)
    def test_corners_surround_the_centre_at_half_the_diagonal(self, box: Box3D) -> None:
        assert box.corners().mean(axis=0) == pytest.approx(box.centre, abs=1e-9)
        distance = np.linalg.norm(box.corners() - box.centre, axis=1)
        assert distance == pytest.approx(np.full(8, np.linalg.norm(box.extents) / 2))

    @given(boxes_3d, st.floats(0, 2))
    def test_contains_what_lies_between_centre_and_corners(self, box: Box3D, share: float) -> None:
        assume(abs(share - 1) > 1e-6)
        points = box.centre + share * (box.corners() - box.centre)
        assert box.contains(points).all() == (share < 1)

    @pytest.mark.parametrize(
        ("field", "value"),
        [("x_m", math.nan), ("y_m", 1001), ("length_m", 1e-300), ("width_m", -1), ("height_m", 101), ("yaw_rad", 3.2)],
    )
    def test_refuses(self, field: str, value: float) -> None:
        fields = {"x_m": 1, "y_m": 1, "z_m": 1, "length_m": 1, "width_m": 1, "height_m": 1, "yaw_rad": 1, field: value}
        with pytest.raises(InvalidArgument) as error:
            Box3D(**fields)
        assert refused(error) == [field]


class TestCalibration:
    def test_a_point_ahead_hits_the_principal_point(self, calibration: Calibration) -> None:
        found, depth = calibration.project(np.array([[10.0, 0, 0], [10, 1, 0], [10, 0, 1]]))
        assert found.tolist() == [[600, 180], [530, 180], [600, 110]]
        assert depth.tolist() == [10, 10, 10]

    def test_a_batch_gives_the_bytes_of_its_single_points(self, calibration: Calibration) -> None:
        points = np.random.default_rng(1).uniform(-50, 50, (101, 4)).astype(np.float32)
        together, _ = calibration.project(points)
        apart = np.concatenate([calibration.project(points[i : i + 1])[0] for i in range(101)])
        assert together.tobytes() == apart.tobytes()

    @pytest.mark.parametrize("count", [0, 1, 17, 1_000, 20_000])
    def test_what_lies_ahead_has_the_pixels_of_all_to_the_bit(self, calibration: Calibration, count: int) -> None:
        points = np.random.default_rng(count).uniform(-50, 50, (count, 4)).astype(np.float32)
        pixels, depth = calibration.project(points)
        rows, u, v = calibration.project_ahead(points)
        assert rows.tolist() == np.flatnonzero(depth > 0.1).tolist()
        assert u.tobytes() == pixels[rows, 0].tobytes()
        assert v.tobytes() == pixels[rows, 1].tobytes()

    @given(st.floats(0, 1199), st.floats(0, 359), st.floats(1, 80))
    def test_rays_invert_the_projection(self, u: float, v: float, depth: float) -> None:
        camera = np.array([[700.0, 0, 600, 40], [0, 700, 180, -3], [0, 0, 1, 0.01]])
        turn, tilt = 0.03, -0.02
        axes = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
        about_z = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
        about_y = np.array([[np.cos(tilt), 0, np.sin(tilt)], [0, 1, 0], [-np.sin(tilt), 0, np.cos(tilt)]])
        calibration = Calibration(camera, np.c_[axes @ about_z @ about_y, [0.1, -0.2, 0.3]], 1200, 360)
        centre, directions = calibration.rays(np.array([[u, v]]))
        found, found_depth = calibration.project(centre + depth * directions)
        assert found[0] == pytest.approx([u, v], abs=1e-6)
        assert found_depth[0] == pytest.approx(depth)

    def test_a_box_ahead(self, calibration: Calibration) -> None:
        # the near face is at 9 m, 2 m wide and 2 m high
        box = calibration.project_box(Box3D(10, 0, 0, 2, 2, 2, 0))
        assert box is not None
        half = 700 / 9
        assert (box.left_px, box.right_px) == pytest.approx((600 - half, 600 + half))
        assert (box.top_px, box.bottom_px) == pytest.approx((180 - half, 180 + half))

    def test_a_box_around_the_camera_fills_the_image(self, calibration: Calibration) -> None:
        assert calibration.project_box(Box3D(0, 0, 0, 4, 4, 4, 0)) == ImageBox(0, 0, 1200, 360)

    @pytest.mark.parametrize("box", [Box3D(-10, 0, 0, 2, 2, 2, 0), Box3D(10, 40, 0, 2, 2, 2, 0), Box3D(10, 0, 20, 2, 2, 2, 0)])
    def test_a_box_out_of_view(self, calibration: Calibration, box: Box3D) -> None:
        assert calibration.project_box(box) is None

    @pytest.mark.parametrize(
        ("row", "column", "value", "what"),
        [
            (0, 0, 0.99, "focal length 0.99"),
            (0, 0, -700, "focal length -700"),
            (1, 1, 1.1e6, "focal length 1.1e+06"),
            (0, 1, 701, "skew 701"),
            (0, 2, -1.1e6, "principal point -1.1e+06"),
            (1, 2, 1.1e6, "principal point 1.1e+06"),
            (0, 3, 1.1e7, "last column 1.1e+07"),
            (1, 0, 1e-3, "0.001, 0, 0, 1 at [1, 0] and [2, :3]"),
            (2, 0, 1e-3, "0, 0.001, 0, 1 at [1, 0] and [2, :3]"),
            (2, 2, -1, "0, 0, 0, -1 at [1, 0] and [2, :3]"),
        ],
    )
    def test_refuses_a_camera_that_is_no_rectified_pinhole(
        self, calibration: Calibration, row: int, column: int, value: float, what: str
    ) -> None:
        projection = calibration.projection.copy()
        projection[row, column] = value
        with pytest.raises(InvalidArgument) as error:
            Calibration(projection, calibration.lidar_to_camera, 1200, 360)
        assert refused(error) == ["projection"]
        assert error.value.violations[0].value == what

    def test_a_skewed_camera_beside_the_lidar_passes(self, calibration: Calibration) -> None:
        projection = np.array([[1, -1, 1e6, 1e7], [0, 1e6, -1e6, -1e7], [0, 0, 1, 2.7e-3]])
        skewed = Calibration(projection, calibration.lidar_to_camera, 9, 9)
        assert skewed.focal_px == (1, 1e6)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("projection", np.zeros((3, 3))),
            ("projection", np.full((3, 4), np.nan)),
            ("projection", np.zeros((3, 4))),
            ("lidar_to_camera", np.full(12, np.inf)),
            ("lidar_to_camera", 2 * np.eye(3, 4)),
            ("lidar_to_camera", 1e200 * np.array([[1, 1, 0, 0], [1, -1, 0, 0], [0, 0, 1, 0]])),
            ("lidar_to_camera", np.diag([1.0, 1, -1, 1])[:3]),
            ("lidar_to_camera", np.c_[np.eye(3), [0, -1001, 0]]),
            ("image_width_px", 0),
            ("image_height_px", 20_000),
        ],
    )
    def test_refuses(self, calibration: Calibration, field: str, value: object) -> None:
        fields = {
            "projection": calibration.projection,
            "lidar_to_camera": calibration.lidar_to_camera,
            "image_width_px": 1200,
            "image_height_px": 360,
            field: value,
        }
        with pytest.raises(InvalidArgument) as error:
            Calibration(**fields)  # type: ignore[arg-type]
        assert refused(error) == [field]
