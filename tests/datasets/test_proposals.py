from dataclasses import replace
from pathlib import Path

import pytest

from quandary.errors import InvalidArgument
from quandary.frames import Proposal
from quandary.geometry import Calibration, ImageBox
from quandary.labels import FrameLabels
from quandary_server.datasets.kitti import DatasetFrame, KittiFolder
from quandary_server.datasets.matching import OutcomeKind, covered_share, match_labels
from quandary_server.datasets.proposals import detection_proposals, label_proposals


@pytest.fixture
def frame(folder: Path) -> DatasetFrame:
    return KittiFolder(folder).read("000001")


def renamed(frame: DatasetFrame, number: int) -> DatasetFrame:
    return replace(frame, frame_id=f"{number:06d}")


def test_the_labels_own_boxes_come_first_and_find_their_labels(frame: DatasetFrame) -> None:
    proposals = label_proposals(frame, seed=0)
    assert proposals[0].box == frame.label_boxes[0]
    assert match_labels(frame.labels, proposals, frame.calibration)[0].label is frame.labels.labels[0]


def test_the_rest_is_background_in_the_image_and_keeps_off_labels_and_ignored_regions(frame: DatasetFrame) -> None:
    taken = [*frame.label_boxes, *frame.labels.ignored_regions]
    background = 0
    for number in range(50):
        own = renamed(frame, number)
        proposals = label_proposals(own, seed=0, background_share=0.8)
        outcomes = match_labels(own.labels, proposals, own.calibration)
        assert [outcome.kind for outcome in outcomes[1:]] == [OutcomeKind.BACKGROUND] * (len(proposals) - 1)
        assert all(covered_share(proposal.box, taken) <= 0.1 for proposal in proposals[1:])
        assert all(proposal.box.clipped(1200, 400) == proposal.box for proposal in proposals)
        background += len(proposals) - 1
    assert background > 100


@pytest.mark.parametrize("share", [0.0, 1 / 3, 0.6])
def test_about_the_wanted_share_of_all_proposals_is_background(frame: DatasetFrame, share: float) -> None:
    counts = [len(label_proposals(renamed(frame, number), 1, share)) for number in range(400)]
    assert 1 - 400 / sum(counts) == pytest.approx(share, abs=0.06)


def test_boxes_depend_on_seed_and_frame_alone(frame: DatasetFrame) -> None:
    first = [label_proposals(renamed(frame, number), 7, 0.8) for number in range(10)]
    again = [label_proposals(renamed(frame, number), 7, 0.8) for number in reversed(range(10))]
    assert first == again[::-1]
    assert first != [label_proposals(renamed(frame, number), 8, 0.8) for number in range(10)]
    assert first[0] != first[1]


def test_a_frame_without_labels_has_background_too(frame: DatasetFrame) -> None:
    empty = replace(frame, labels=FrameLabels("000001"), label_boxes=())
    counts = [len(label_proposals(renamed(empty, number), 0, 0.5)) for number in range(100)]
    assert sum(counts) > 50


def test_where_everything_is_ignored_there_is_no_room(frame: DatasetFrame) -> None:
    everywhere = FrameLabels("000001", (), [ImageBox(0, 0, 1200, 400)])
    assert label_proposals(replace(frame, labels=everywhere, label_boxes=()), 0, 0.9) == []


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_that_is_none_is_refused(frame: DatasetFrame, share: float) -> None:
    with pytest.raises(InvalidArgument, match="background_share"):
        label_proposals(frame, 0, share)


def test_detections_come_best_first_from_the_least_score_on(frame: DatasetFrame, calibration: Calibration) -> None:
    box = ImageBox(0, 0, 10, 10)
    detected = replace(frame, detections=tuple(Proposal(box, score, "Car") for score in (0.2, 0.9, 0.5)))
    assert [proposal.confidence for proposal in detection_proposals(detected)] == [0.9, 0.5, 0.2]
    assert [proposal.confidence for proposal in detection_proposals(detected, min_score=0.5)] == [0.9, 0.5]


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan")])
def test_a_least_score_that_is_none_is_refused(frame: DatasetFrame, score: float) -> None:
    with pytest.raises(InvalidArgument, match="min_score"):
        detection_proposals(frame, score)
