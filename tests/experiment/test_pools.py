"""Pools, built on the session's Ray."""

import shutil
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from support.records import START, labelled_record

from quandary import convert
from quandary.errors import CorruptArtefact, InvalidArgument
from quandary.frames import Proposal
from quandary.geometry import Calibration, ImageBox
from quandary_server.datasets.kitti import KittiFolder
from quandary_server.experiment.pools.build import KITTI_VARIABLE, built_pool, kitti_folder, pool_file
from quandary_server.experiment.pools.crops import Pool, pool_digest, read_pool, write_pool
from quandary_server.experiment.pools.digests import folder_digest
from quandary_server.experiment.pools.noise import noisy
from quandary_server.experiment.settings import NoiseSettings, PoolSettings
from quandary_server.storage.label_values import LabelledFrame
from quandary_server.storage.snapshots import write_snapshot

SIDE = 16
FLEET = {
    "pool_drives": 2,
    "control_drives": 1,
    "evaluation_drives": 1,
    "frames_per_drive": 3,
    "frame_interval_s": 0.5,
    "seed": 4,
}


def settings(**changes: object) -> PoolSettings:
    return PoolSettings.model_validate({"source": {"kind": "fleet", "fleet": FLEET}, **changes})


def told(what: str, done: int, total: int) -> None:
    assert 0 < done <= total


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pools")


@pytest.fixture(scope="module")
def pool(ray_cluster: str, folder: Path) -> Pool:
    return built_pool(settings(), SIDE, 0, folder, told)


def test_a_fleet_is_split_by_drive_and_keeps_its_times(pool: Pool) -> None:
    drives = [set(crops.examples.drives.tolist()) for crops in (pool.pool, pool.control, pool.evaluation)]
    assert [len(found) for found in drives] == [2, 1, 1]
    assert not drives[0] & drives[2]
    assert pool.pool.examples.maps.shape[1:] == (3, SIDE, SIDE)
    first = pool.pool.examples.drives == pool.pool.examples.drives[0]
    assert np.unique(np.diff(np.unique(pool.pool.stamps_s[first]))).tolist() == [0.5]


def test_what_was_built_is_read_and_not_built_again(pool: Pool, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    again = built_pool(settings(), SIDE, 0, folder, told)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert again.pool.examples.maps.tobytes() == pool.pool.examples.maps.tobytes()


def test_noise_and_thinning_make_other_pools_of_the_same_fleet(pool: Pool, folder: Path, ray_cluster: str) -> None:
    missed = built_pool(settings(noise={"missed": 0.5}), SIDE, 0, folder, told)
    assert len(missed.pool) < 0.8 * len(pool.pool)
    thinned = built_pool(settings(held_out_every=3), SIDE, 0, folder, told)
    assert len(thinned.pool) == len(pool.pool)
    assert len(np.unique(thinned.evaluation.examples.frames)) == 1
    assert len(list(folder.glob("fleet-*"))) == 1


def test_a_folder_is_read_where_the_variable_says(
    pool: Pool, folder: Path, ray_cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root,) = folder.glob("fleet-*")
    monkeypatch.setenv(KITTI_VARIABLE, str(root))
    found = built_pool(PoolSettings.model_validate({"source": {"kind": "folder"}}), SIDE, 0, folder, told)
    assert found.evaluation.examples.frames.tolist() == pool.evaluation.examples.frames.tolist()
    detected = built_pool(
        PoolSettings.model_validate({"source": {"kind": "folder"}, "proposals": "detections"}), SIDE, 0, folder, told
    )
    assert len(detected.pool) != len(found.pool)
    assert KittiFolder(root).frames("pool")


def test_a_missing_folder_is_named_with_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KITTI_VARIABLE, raising=False)
    with pytest.raises(InvalidArgument, match=KITTI_VARIABLE):
        kitti_folder("")
    with pytest.raises(InvalidArgument, match="/nowhere"):
        kitti_folder("/nowhere")


def test_a_pool_without_crops_is_refused(tmp_path: Path, ray_cluster: str) -> None:
    fleet = {**FLEET, "pool_drives": 0, "frames_per_drive": 1}
    with pytest.raises(InvalidArgument, match="crops of split pool is 0"):
        built_pool(settings(source={"kind": "fleet", "fleet": fleet}), SIDE, 0, tmp_path, told)


def test_a_pool_comes_back_as_it_was_written(toy_pool: Pool, tmp_path: Path) -> None:
    write_pool(tmp_path / "pool.npz", toy_pool)
    back = read_pool(tmp_path / "pool.npz")
    assert back.control.examples.frames.tolist() == toy_pool.control.examples.frames.tolist()
    assert back.evaluation.stamps_s.tolist() == toy_pool.evaluation.stamps_s.tolist()


@pytest.mark.parametrize("size", [0, 10, 1000, -100])
def test_a_torn_pool_is_named_with_what_to_do(toy_pool: Pool, tmp_path: Path, size: int) -> None:
    path = tmp_path / "pool.npz"
    write_pool(path, toy_pool)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CorruptArtefact, match=r"pool\.npz is no pool; delete it to build it again"):
        read_pool(path)


def proposals(count: int) -> list[Proposal]:
    return [Proposal(ImageBox(300.0 + i, 150.0, 420.0 + i, 230.0), 0.5) for i in range(count)]


def test_without_noise_proposals_stay(calibration: Calibration) -> None:
    assert noisy(proposals(5), NoiseSettings(), calibration, "f", 0) == proposals(5)


def test_noise_shifts_scales_and_misses_as_told_and_the_same_each_time(calibration: Calibration) -> None:
    noise = NoiseSettings(shift=0.1, scale=0.2, missed=0.3)
    found = [box.box for i in range(100) for box in noisy(proposals(10), noise, calibration, f"f{i}", 0)]
    assert len(found) / 1000 == pytest.approx(0.7, abs=0.05)
    assert np.std([np.log(box.width_px / 120) for box in found]) == pytest.approx(0.2, rel=0.15)
    assert np.std([(box.top_px + box.bottom_px) / 2 for box in found]) == pytest.approx(0.1 * 80, rel=0.15)
    assert noisy(proposals(10), noise, calibration, "f1", 0) == noisy(proposals(10), noise, calibration, "f1", 0)
    assert noisy(proposals(10), noise, calibration, "f1", 1) != noisy(proposals(10), noise, calibration, "f1", 0)


def test_noise_does_not_follow_the_background_that_was_drawn(calibration: Calibration) -> None:
    ids = [f"f{i}" for i in range(2000)]
    drawn = np.array([np.random.default_rng([0, crc32(name.encode())]).random() for name in ids])
    missed = np.array([not noisy(proposals(1), NoiseSettings(missed=0.3), calibration, name, 0) for name in ids])
    assert abs(np.corrcoef(drawn, missed)[0, 1]) < 0.1


@pytest.fixture
def kitti_copy(pool: Pool, folder: Path, tmp_path: Path) -> Path:
    """A folder of three simulated drives in the KITTI layout, to be changed."""
    (root,) = folder.glob("fleet-*")
    return Path(shutil.copytree(root, tmp_path / "kitti"))


def test_a_folder_of_the_same_frames_has_the_same_digest_wherever_it_is(kitti_copy: Path, folder: Path) -> None:
    (root,) = folder.glob("fleet-*")
    assert folder_digest(kitti_copy) == folder_digest(root)


@pytest.mark.parametrize(
    "changed",
    ["frames.csv", "rgb_detection_*.txt", "training/label_2/*.txt", "training/calib/*.txt", "training/velodyne/*.bin"],
)
def test_other_files_of_a_folder_are_another_pool(kitti_copy: Path, monkeypatch: pytest.MonkeyPatch, changed: str) -> None:
    monkeypatch.setenv(KITTI_VARIABLE, str(kitti_copy))
    asked = PoolSettings.model_validate({"source": {"kind": "folder"}})
    before = pool_file(asked, SIDE, 0, kitti_copy)
    path = next(path for path in sorted(kitti_copy.rglob("*")) if path.match(changed) and path.stat().st_size)
    path.write_bytes(CHANGES[path.suffix](path.read_bytes()))
    assert pool_file(asked, SIDE, 0, kitti_copy) != before


CHANGES = {
    ".csv": lambda data: data.replace(b",pool", b",control", 1),
    ".txt": lambda data: data + data.splitlines(keepends=True)[-1],
    ".bin": lambda data: data[:-16],
}


@pytest.mark.parametrize("missing", ["label_2", "calib", "velodyne"])
def test_a_file_that_a_folder_lacks_is_named_before_crops_are_cut(kitti_copy: Path, missing: str) -> None:
    first = min((kitti_copy / "training" / missing).iterdir())
    first.unlink()
    with pytest.raises(InvalidArgument, match=f"{missing}/{first.name} is missing"):
        folder_digest(kitti_copy)


def test_pools_have_the_same_digest_where_every_crop_is_the_same(toy_pool: Pool) -> None:
    assert pool_digest(replace(toy_pool, pool=toy_pool.pool.take(np.arange(60)))) == pool_digest(toy_pool)
    assert pool_digest(replace(toy_pool, pool=toy_pool.pool.take(np.arange(59, -1, -1)))) != pool_digest(toy_pool)
    assert pool_digest(replace(toy_pool, control=toy_pool.pool)) != pool_digest(toy_pool)


@pytest.mark.parametrize(
    ("queues", "evaluation", "expected"),
    [
        ("active active control control", ["evaluation"], ["ab", "d", "c"]),
        ("active active active control", ["evaluation"], ["abc", "", "d"]),
        ("active active control control", ["control", "evaluation"], ["ab", "d", "cd"]),
        ("active active active control", ["control", "evaluation"], ["abc", "", "d"]),
        # the first frame of b was taken in before b became a control drive
        ("active active control control active control control control", ["evaluation"], ["a", "c", "bd"]),
    ],
)
def test_labels_of_the_store_are_split_by_drive_and_no_control_drive_calibrates_and_judges_unasked(
    calibration: Calibration, tmp_path: Path, queues: str, evaluation: list[str], expected: list[str]
) -> None:
    rng, frames = np.random.default_rng(0), []
    for i, (drive, queue) in enumerate(zip("abcdabcd", (queues.split() * 2)[:8], strict=True)):
        record, labels = labelled_record(calibration, tmp_path, f"f{i}", drive, rng, at_s=i)
        payload = convert.record_message(record).SerializeToString()
        frames.append(LabelledFrame(labels, drive, queue, "someone", START, i, len(record.proposals), payload))
    write_snapshot(tmp_path / "labels.parquet", frames)
    source = {"kind": "snapshot", "path": str(tmp_path / "labels.parquet")}
    found = built_pool(settings(source=source, evaluation=evaluation), SIDE, 0, tmp_path / "pools", told)
    drives = ["".join(sorted(set(part.examples.drives.tolist()))) for part in (found.pool, found.control, found.evaluation)]
    assert drives == expected
    assert len(found.pool) == 6 * len(expected[0])
    assert np.ptp(found.pool.stamps_s) == 4.0 + len(expected[0]) - 1
