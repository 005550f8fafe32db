"""Fleets on disk: the same seed gives the same bytes, and the dataset's reader reads them."""

import hashlib
from pathlib import Path

import pytest

from quandary.errors import InvalidArgument
from quandary_server.datasets.clouds import read_cloud
from quandary_server.datasets.detections import PATTERN
from quandary_server.datasets.kitti import KittiFolder
from quandary_server.datasets.matching import match_labels
from quandary_server.datasets.proposals import detection_proposals, label_proposals
from quandary_server.datasets.records import frame_record
from quandary_server.simulator import FleetSettings, simulate_drive, simulate_fleet

SETTINGS = FleetSettings(pool_drives=2, control_drives=1, evaluation_drives=1, frames_per_drive=3, frame_interval_s=0.5, seed=5)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "fleet"
    simulate_fleet(folder, SETTINGS)
    return folder


def test_the_same_settings_give_the_same_bytes(fleet: Path, tmp_path: Path) -> None:
    simulate_fleet(tmp_path / "again", SETTINGS)
    assert digests(tmp_path / "again") == digests(fleet)


def test_drives_written_alone_and_in_another_order_have_the_same_bytes(fleet: Path, tmp_path: Path) -> None:
    for drive in (3, 0):
        simulate_drive(tmp_path, SETTINGS, drive)
    alone = digests(tmp_path)
    assert len(alone) == 2 * (3 * SETTINGS.frames_per_drive + 1)
    assert alone.items() <= digests(fleet).items()


def test_another_seed_gives_another_fleet(fleet: Path, tmp_path: Path) -> None:
    other = FleetSettings(1, 0, 0, frames_per_drive=1, seed=6)
    simulate_fleet(tmp_path / "other", other)
    name = "training/velodyne/000000.bin"
    assert digests(tmp_path / "other")[name] != digests(fleet)[name]


def test_the_index_splits_by_drive(fleet: Path) -> None:
    kitti = KittiFolder(fleet)
    drives = {split: sorted({e.drive_id for e in kitti.frames(split)}) for split in ("pool", "control", "evaluation")}
    assert [len(found) for found in drives.values()] == [2, 1, 1]
    assert len(kitti.frames()) == 12
    assert [entry.raw_frame for entry in kitti.frames("control")] == [0, 5, 10]


def test_the_reader_reads_every_frame_and_makes_records_of_it(fleet: Path) -> None:
    kitti = KittiFolder(fleet)
    labels = detections = found = 0
    for entry in kitti.frames():
        frame = kitti.read(entry.frame_id)
        cloud = read_cloud(frame.cloud_path)
        assert len(cloud) == entry.points > 10_000
        assert frame.ego_pose is not None
        assert frame_record(frame, detection_proposals(frame)).cloud_uri.startswith("file://")
        own = match_labels(frame.labels, label_proposals(frame, 0, 0.0), frame.calibration)
        found += sum(outcome.label is label for outcome, label in zip(own, frame.labels.labels, strict=True))
        labels += len(frame.labels.labels)
        detections += len(frame.detections)
    assert labels > 30
    # Boxes drawn around people are smaller than their 3D boxes: some find no label, in KITTI as here.
    assert found / labels > 0.95
    assert detections > 20


def test_poses_are_those_of_a_car_on_its_way(fleet: Path) -> None:
    kitti = KittiFolder(fleet)
    for first, second in zip(kitti.frames("pool"), kitti.frames("pool")[1:], strict=False):
        if first.drive_id == second.drive_id and first.ego_pose and second.ego_pose:
            step = abs(second.ego_pose.x_m - first.ego_pose.x_m) + abs(second.ego_pose.y_m - first.ego_pose.y_m)
            assert step < 0.5 * 25


def test_progress_counts_up_to_the_whole_fleet(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    simulate_fleet(tmp_path / "f", FleetSettings(1, 1, 0, frames_per_drive=2), lambda done, total: calls.append((done, total)))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_folder_with_something_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("keep")
    with pytest.raises(InvalidArgument, match="new or empty"):
        simulate_fleet(tmp_path, SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_a_fleet_broken_off_leaves_no_folder_and_is_begun_anew(tmp_path: Path) -> None:
    settings = FleetSettings(1, 0, 0, frames_per_drive=2)

    def break_off(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate_fleet(tmp_path / "f", settings, break_off)
    assert not (tmp_path / "f").exists()
    assert len(simulate_fleet(tmp_path / "f", settings)) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_detections_are_in_the_published_format(fleet: Path) -> None:
    files = sorted(fleet.rglob(PATTERN))
    assert len(files) == SETTINGS.drives
    assert files[0].read_text().splitlines()[0].startswith("training/image_2/000000.png ")
