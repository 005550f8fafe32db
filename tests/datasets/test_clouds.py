from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from quandary.errors import InvalidArgument
from quandary_server.datasets.clouds import read_cloud, write_cloud

values = st.floats(0, 1, width=32)


@settings(max_examples=30)
@given(points=hnp.arrays(np.float32, st.tuples(st.integers(0, 20), st.just(4)), elements=values))
def test_a_written_cloud_is_read_back_bit_by_bit(tmp_path_factory: pytest.TempPathFactory, points: np.ndarray) -> None:
    path = tmp_path_factory.mktemp("velodyne") / "000000.bin"
    points[:, :3] *= 200
    write_cloud(path, points)
    found = read_cloud(path)
    assert found.dtype == np.float32
    assert found.tobytes() == points.tobytes()


def test_an_empty_cloud_has_no_points(tmp_path: Path) -> None:
    write_cloud(tmp_path / "000000.bin", np.empty((0, 4), np.float32))
    assert read_cloud(tmp_path / "000000.bin").shape == (0, 4)


@pytest.mark.parametrize("size", [1, 15, 17, 40])
def test_a_torn_cloud_is_refused_by_name(tmp_path: Path, size: int) -> None:
    path = tmp_path / "velodyne" / "000007.bin"
    path.parent.mkdir()
    path.write_bytes(bytes(size))
    with pytest.raises(InvalidArgument, match="a multiple of 16 bytes") as error:
        read_cloud(path)
    assert error.value.violations[0].field == "velodyne/000007.bin"
    assert error.value.violations[0].value == f"{size} bytes"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_cloud_that_is_not_finite_is_refused_with_the_row(tmp_path: Path, bad: float) -> None:
    points = np.zeros((5, 4), "<f4")
    points[3, 1] = bad
    path = tmp_path / "velodyne" / "000007.bin"
    path.parent.mkdir()
    path.write_bytes(points.tobytes())
    with pytest.raises(InvalidArgument, match="row 3"):
        read_cloud(path)
    with pytest.raises(InvalidArgument, match="row 3"):
        write_cloud(path, points)


def test_a_missing_cloud_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"velodyne/000009\.bin is missing"):
        read_cloud(tmp_path / "velodyne" / "000009.bin")


@pytest.mark.parametrize("points", [np.zeros((2, 3), np.float32), np.zeros((2, 4), np.float64), np.zeros(4, np.float32)])
def test_points_of_another_shape_or_type_are_not_written(tmp_path: Path, points: np.ndarray) -> None:
    with pytest.raises(InvalidArgument):
        write_cloud(tmp_path / "000000.bin", points)
    assert not (tmp_path / "000000.bin").exists()
