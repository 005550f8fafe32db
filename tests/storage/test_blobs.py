"""Clouds by URI: what is read, and what is refused by name."""

import os
from pathlib import Path

import numpy as np
import pytest

from quandary.clouds import cloud_from_bytes
from quandary.errors import InvalidArgument, NotFound, TooLarge, Unavailable
from quandary_server.storage.blobs import read_cloud

POINTS = np.array([[1, 2, 3, 0.5], [-4, 5.25, -6, 0]], dtype="<f4")


def test_rows_of_four_floats_become_points() -> None:
    points = cloud_from_bytes(POINTS.tobytes(), "cloud")
    assert points.shape == (2, 4)
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points, POINTS)
    assert cloud_from_bytes(b"", "cloud").shape == (0, 4)


@pytest.mark.parametrize("size", [1, 15, 17, 31])
def test_a_torn_cloud_is_refused_by_name(size: int) -> None:
    with pytest.raises(InvalidArgument, match=f"velodyne/7.bin is {size} bytes, must be a multiple of 16"):
        cloud_from_bytes(bytes(size), "velodyne/7.bin")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_point_that_is_not_finite_is_refused_with_its_row(value: float) -> None:
    points = POINTS.copy()
    points[1, 3] = value
    with pytest.raises(InvalidArgument, match=r"cloud is .* at row 1, must be finite"):
        cloud_from_bytes(points.tobytes(), "cloud")


@pytest.mark.parametrize("name", ["cloud.bin", "a b.bin", "50%.bin", "a%20b.bin", "Straße#1?.bin"])
def test_a_file_is_read_by_its_uri_whatever_its_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(POINTS.tobytes())
    np.testing.assert_array_equal(read_cloud(path.as_uri()), POINTS)
    np.testing.assert_array_equal(read_cloud(path.as_uri().replace("file://", "file://localhost")), POINTS)
    np.testing.assert_array_equal(read_cloud(path.as_uri().replace("file://", "file:")), POINTS)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/cloud.bin",
        "https://host/cloud.bin",
        "/clouds/cloud.bin",
        "cloud.bin",
        "",
        "file:cloud.bin",
        "file://",
        "file://host/cloud.bin",
        "file:///cloud.bin?version=1",
        "file:///cloud.bin#top",
        "file:///cloud%00.bin",
        "file:///cloud%FF.bin",
        "file://[/cloud.bin",
    ],
)
def test_other_uris_are_refused(uri: str) -> None:
    with pytest.raises(InvalidArgument, match="must be file:///PATH") as caught:
        read_cloud(uri)
    assert caught.value.violations[0].value == uri


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for missing in ("cloud.bin", "no/such/cloud.bin", "file/cloud.bin", "x" * 300):
        with pytest.raises(NotFound, match=missing):
            read_cloud((tmp_path / missing).as_uri())


def test_folders_and_pipes_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(InvalidArgument, match="regular file"):
            read_cloud(path.as_uri())


def test_a_cloud_over_the_limit_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "cloud.bin"
    path.write_bytes(POINTS.tobytes())
    assert len(read_cloud(path.as_uri(), max_bytes=32)) == 2
    with pytest.raises(TooLarge, match="of 32 bytes, must be a cloud of at most 31 bytes"):
        read_cloud(path.as_uri(), max_bytes=31)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "cloud.bin"
    path.write_bytes(POINTS.tobytes())
    path.chmod(0)
    with pytest.raises(Unavailable, match="Permission denied"):
        read_cloud(path.as_uri())
