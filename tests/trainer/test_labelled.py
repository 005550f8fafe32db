from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.records import labelled_record

from quandary import Calibration, FrameLabels
from quandary.labels import CLASSES
from quandary_server.detector.examples import true_boxes
from quandary_server.frustum.raster import SIDE
from quandary_server.storage.store import Store
from quandary_server.trainer.labelled import examples_of, examples_of_snapshot


def names(classes: np.ndarray) -> list[str]:
    return [CLASSES[index] for index in classes.tolist()]


def test_a_proposal_gets_its_label_or_is_background(calibration: Calibration, tmp_path: Path) -> None:
    record, labels = labelled_record(calibration, tmp_path, "f", "drive", np.random.default_rng(3))
    examples = examples_of(record, labels, SIDE)
    assert names(examples.classes) == ["Car", "Pedestrian", "Background"]
    boxes = true_boxes(examples)
    for found, label in zip(boxes, labels.labels, strict=False):
        assert found.centre == pytest.approx(label.box.centre, abs=1e-4)
    assert examples.maps[0, 2].sum() > 20
    assert set(examples.drives.tolist()) == {"drive"}


def test_proposals_over_ignored_regions_teach_nothing(calibration: Calibration, tmp_path: Path) -> None:
    record, labels = labelled_record(calibration, tmp_path, "f", "drive", np.random.default_rng(3))
    ignored = FrameLabels("f", labels.labels, [record.proposals[2].box])
    assert names(examples_of(record, ignored, SIDE).classes) == ["Car", "Pedestrian"]


def test_a_snapshot_keeps_control_apart_and_names_what_cannot_be_read(store: Store, label: object, tmp_path: Path) -> None:
    label(4)  # type: ignore[operator]
    label(2, queue="control")  # type: ignore[operator]
    (tmp_path / "clouds" / "f2.bin").unlink()
    (tmp_path / "clouds" / "f6.bin").unlink()
    told: list[int] = []
    found = examples_of_snapshot(store.labels.all(), SIDE, told.append)
    assert set(found.training.frames.tolist()) == {"f1", "f3", "f4"}
    assert set(found.control.frames.tolist()) == {"f5"}
    assert (found.unreadable, found.unreadable_control) == (("f2",), ("f6",))
    assert found.problem.startswith("there is no cloud at file:///")
    assert told == [1, 2, 3, 4, 5, 6]


def test_a_drive_that_judges_teaches_nothing(store: Store, label: object) -> None:
    label(3)  # type: ignore[operator]
    label(1, queue="control")  # type: ignore[operator]
    first, second, third, control = store.labels.all()
    # as a store of before drives were kept to one queue may have it
    found = examples_of_snapshot([first, replace(second, drive_id=control.drive_id), third, control], SIDE)
    assert set(found.training.frames.tolist()) == {"f1", "f3"}
    assert set(found.control.frames.tolist()) == {"f4"}
    assert found.crossed == ("f2",)
