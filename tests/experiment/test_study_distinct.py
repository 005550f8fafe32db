from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from quandary.geometry import Box3D
from quandary.labels import BACKGROUND, CLASSES
from quandary_server.datasets.kitti import KittiFolder
from quandary_server.detector.examples import Examples
from quandary_server.experiment.pools.crops import Crops
from quandary_server.experiment.study.distinct import distinct_counts, distinct_objects, with_few_objects
from quandary_server.frustum.anchor import REGRESSED, encode_box

Seen = tuple[str, str, float, float, float]
"""Drive, class, time in seconds, and where it stands: x and y in metres."""


def crops_of(seen: Sequence[Seen]) -> Crops:
    """Return crops of boxes alone, all regressed from the sensor's own place."""
    count = len(seen)
    boxes = np.zeros((count, REGRESSED), np.float32)
    for i, (_, name, _, x, y) in enumerate(seen):
        if name != BACKGROUND:
            boxes[i] = encode_box(Box3D(x, y, 0.0, 1.0, 1.0, 1.0, 0.3), np.zeros(3), 0.0)
    examples = Examples(
        np.zeros((count, 1, 1, 1), np.float32),
        np.zeros((count, 1), np.float32),
        np.array([CLASSES.index(name) for _, name, *_ in seen], np.int64),
        boxes,
        np.zeros((count, 3)),
        np.zeros(count),
        np.array([drive for drive, *_ in seen]),
        np.array([f"{drive}-{stamp}" for drive, _, stamp, *_ in seen]),
    )
    return Crops(examples, np.array([stamp for _, _, stamp, *_ in seen], np.float64))


def drive_by(x: float, y: float, pace: float, stamps: Sequence[float], name: str = "Car", drive: str = "a") -> list[Seen]:
    return [(drive, name, stamp, x + pace * stamp, y) for stamp in stamps]


TENTHS = [round(0.1 * i, 1) for i in range(10)]


def numbers(parts: Sequence[Sequence[Seen]]) -> list[set[int]]:
    """Return which object numbers each part is given, all parts in one pool whose order is mixed."""
    seen = [one for part in parts for one in part]
    owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    order = np.random.default_rng(3).permutation(len(seen))
    found = distinct_objects(crops_of([seen[i] for i in order]))
    return [set(found[owner[order] == part].tolist()) for part in range(len(parts))]


def test_two_that_pass_each_other_stay_apart() -> None:
    one, other = numbers([drive_by(20, 2, -12, TENTHS), drive_by(8, -1, 10, TENTHS)])
    assert len(one) == len(other) == 1
    assert one != other


def test_a_fast_one_is_followed_once_its_speed_is_known() -> None:
    (one,) = numbers([drive_by(60, 3, -25, TENTHS)])
    assert len(one) == 1


def test_classes_drives_and_long_absences_part_objects() -> None:
    stands = drive_by(10, 0, 0, TENTHS)
    found = numbers(
        [
            stands,
            drive_by(10, 0.5, 0, TENTHS, name="Pedestrian"),
            drive_by(10, 0, 0, TENTHS, drive="b"),
            drive_by(10, 0, 0, [stamp + 5.0 for stamp in TENTHS]),
            [("a", BACKGROUND, 0.0, 10, 0)],
        ]
    )
    assert [len(part) for part in found] == [1] * 5
    assert len(set.union(*found)) == 5
    assert found[-1] == {-1}


def test_few_objects_are_kept_whole_and_background_all() -> None:
    seen = [one for y in range(0, 50, 5) for one in drive_by(10, y, 0, TENTHS)]
    seen += drive_by(30, 0, 0, TENTHS, name="Van") + [("a", BACKGROUND, 0.0, 0, 0)] * 7
    crops = crops_of(seen)
    objects = distinct_objects(crops)
    assert distinct_counts(crops, objects) == {"Car": 10, "Van": 1}

    kept = with_few_objects(crops, objects, {"Car": 3}, np.random.default_rng(0))
    few = crops.take(kept)
    assert distinct_counts(few, objects[kept]) == {"Car": 3}
    assert len(few) == 3 * len(TENTHS) + 7
    drawn = [set(objects[with_few_objects(crops, objects, {"Car": 3}, np.random.default_rng(s))].tolist()) for s in range(5)]
    assert len(set(map(frozenset, drawn))) > 1


@pytest.mark.parametrize(("drive", "tracks"), [("2011_09_26_drive_0005_sync", "0000"), ("2011_09_26_drive_0060_sync", "0012")])
def test_on_real_drives_it_counts_the_published_tracks(kitti: Path, drive: str, tracks: str) -> None:
    folder = KittiFolder(kitti)
    frames = [folder.read(entry.frame_id) for entry in folder.frames("pool") if entry.drive_id == drive]
    crops = crops_of(
        [
            (drive, label.class_name, frame.stamp.timestamp(), *label.box.centre[:2].tolist())
            for frame in frames
            for label in frame.labels.labels
        ]
    )
    lines = [line.split() for line in (kitti / "tracking_labels" / f"{tracks}.txt").read_text().splitlines()]
    published = {(line[1], line[2]) for line in lines if line[2] in CLASSES}
    assert sum(distinct_counts(crops, distinct_objects(crops)).values()) == len(published)
