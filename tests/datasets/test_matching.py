import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quandary.frames import Proposal
from quandary.geometry import Box3D, Calibration, ImageBox
from quandary.labels import BACKGROUND, FrameLabels, Label
from quandary_server.datasets.matching import OutcomeKind, covered_share, match_labels

CAR = Label("Car", Box3D(15.0, 2.0, -1.0, 4.0, 1.6, 1.5, 0.2))
FAR_CAR = Label("Car", Box3D(30.0, -6.0, -1.0, 4.0, 1.6, 1.5, 0.2))

px = st.integers(0, 30)


def projected(label: Label, calibration: Calibration) -> ImageBox:
    box = calibration.project_box(label.box)
    assert box is not None
    return box


def shifted(box: ImageBox, share: float) -> ImageBox:
    """Shift to the right by a share of the width: the IoU is (1 - share) / (1 + share)."""
    dx = share * box.width_px
    return ImageBox(box.left_px + dx, box.top_px, box.right_px + dx, box.bottom_px)


def test_a_label_is_matched_to_the_proposal_around_it(calibration: Calibration) -> None:
    proposals = [Proposal(projected(FAR_CAR, calibration)), Proposal(projected(CAR, calibration))]
    outcomes = match_labels(FrameLabels("f", [CAR, FAR_CAR]), proposals, calibration)
    assert [outcome.label for outcome in outcomes] == [FAR_CAR, CAR]
    assert [outcome.iou for outcome in outcomes] == pytest.approx([1.0, 1.0])
    assert [outcome.class_name for outcome in outcomes] == ["Car", "Car"]


def test_proposals_of_nothing_are_background(calibration: Calibration) -> None:
    outcomes = match_labels(FrameLabels("f", [CAR]), [Proposal(ImageBox(900, 50, 1000, 90))], calibration)
    assert [(o.kind, o.label, o.iou, o.class_name) for o in outcomes] == [(OutcomeKind.BACKGROUND, None, 0.0, BACKGROUND)]


@pytest.mark.parametrize(
    ("share", "kind"),
    [(0.32, OutcomeKind.OBJECT), (0.35, OutcomeKind.IGNORED), (0.52, OutcomeKind.IGNORED), (0.56, OutcomeKind.BACKGROUND)],
)
def test_a_loose_box_is_an_object_from_half_and_background_below_three_tenths(
    calibration: Calibration, share: float, kind: OutcomeKind
) -> None:
    box = shifted(projected(CAR, calibration), share)
    (outcome,) = match_labels(FrameLabels("f", [CAR]), [Proposal(box)], calibration)
    assert outcome.kind is kind
    assert outcome.iou == pytest.approx((1 - share) / (1 + share))


def test_a_second_detection_of_an_object_teaches_nothing(calibration: Calibration) -> None:
    box = projected(CAR, calibration)
    outcomes = match_labels(FrameLabels("f", [CAR]), [Proposal(shifted(box, 0.1)), Proposal(box)], calibration)
    assert [outcome.kind for outcome in outcomes] == [OutcomeKind.IGNORED, OutcomeKind.OBJECT]
    assert outcomes[0].class_name is None


def test_the_assignment_is_best_over_all_and_not_greedy(calibration: Calibration) -> None:
    # Proposal 0 fits both labels, and the first best of all; proposal 1 fits the first only.
    first = Label("Car", Box3D(20.0, 0.0, 0.0, 1.0, 4.0, 2.0, 0.0))
    second = Label("Van", Box3D(20.0, 1.2, 0.0, 1.0, 4.0, 2.0, 0.0))
    box = projected(first, calibration)
    proposals = [Proposal(shifted(box, -0.1)), Proposal(shifted(box, 0.25))]
    outcomes = match_labels(FrameLabels("f", [first, second]), proposals, calibration)
    assert [outcome.class_name for outcome in outcomes] == ["Van", "Car"]


@pytest.mark.parametrize(("share", "kind"), [(0.55, OutcomeKind.IGNORED), (0.45, OutcomeKind.BACKGROUND)])
def test_a_proposal_mostly_over_ignored_regions_teaches_nothing(
    calibration: Calibration, share: float, kind: OutcomeKind
) -> None:
    labels = FrameLabels(
        "f", [], [ImageBox(100, 100, 100 + 100 * share / 2, 200), ImageBox(200 - 100 * share / 2, 90, 220, 200)]
    )
    (outcome,) = match_labels(labels, [Proposal(ImageBox(100, 100, 200, 200))], calibration)
    assert outcome.kind is kind


def test_an_object_within_an_ignored_region_stays_an_object(calibration: Calibration) -> None:
    box = projected(CAR, calibration)
    labels = FrameLabels("f", [CAR], [box.grown(1.5)])
    assert match_labels(labels, [Proposal(box)], calibration)[0].label is CAR


def test_a_truncated_object_is_matched_by_what_the_image_holds_of_it(calibration: Calibration) -> None:
    beside = Label("Car", Box3D(5.0, 4.5, -1.0, 4.0, 1.6, 1.5, 0.0), truncation=0.6)
    box = projected(beside, calibration)
    assert box.left_px == 0.0
    assert match_labels(FrameLabels("f", [beside]), [Proposal(box)], calibration)[0].label is beside


@pytest.mark.parametrize("box", [Box3D(-20, 0, 0, 4, 2, 2, 0), Box3D(10, 80, 0, 4, 2, 2, 0)])
def test_a_label_out_of_view_finds_nothing(calibration: Calibration, box: Box3D) -> None:
    proposals = [Proposal(ImageBox(0, 0, 1200, 400)), Proposal(ImageBox(500, 100, 600, 200))]
    outcomes = match_labels(FrameLabels("f", [Label("Car", box)]), proposals, calibration)
    assert [outcome.kind for outcome in outcomes] == [OutcomeKind.BACKGROUND] * 2


@pytest.mark.parametrize(("labels", "proposals"), [(0, 0), (1, 0), (0, 1)])
def test_either_may_be_absent(calibration: Calibration, labels: int, proposals: int) -> None:
    found = match_labels(FrameLabels("f", [CAR] * labels), [Proposal(ImageBox(900, 0, 910, 9))] * proposals, calibration)
    assert len(found) == proposals


@given(st.lists(st.tuples(px, px, st.integers(1, 30), st.integers(1, 30)), max_size=5))
def test_the_covered_share_is_that_of_the_union(corners: list[tuple[int, int, int, int]]) -> None:
    box = ImageBox(5, 5, 25, 20)
    cells = np.zeros((60, 60), dtype=bool)
    regions = []
    for left, top, width, height in corners:
        regions.append(ImageBox(left, top, left + width, top + height))
        cells[top : top + height, left : left + width] = True
    assert covered_share(box, regions) == pytest.approx(cells[5:20, 5:25].mean())
