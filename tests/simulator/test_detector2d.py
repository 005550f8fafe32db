import numpy as np
import pytest

from quandary.frames import Proposal, check_inside_image
from quandary.geometry import Box3D, ImageBox
from quandary.labels import LABEL_CLASSES
from quandary_server.datasets.detections import CLASS_HINTS
from quandary_server.simulator.camera import camera_calibration
from quandary_server.simulator.detector2d import detections
from quandary_server.simulator.sights import Sight

CALIBRATION = camera_calibration()
BOX = Box3D(20.0, 0.0, -1.0, 4.0, 1.6, 1.5, 0.0)


def sight(height_px: float = 80.0, visible: float = 1.0, class_name: str = "Car", lookalike: str = "") -> Sight:
    image_box = ImageBox(500, 160, 500 + 1.5 * height_px, 160 + height_px)
    return Sight(0, class_name, lookalike, BOX, image_box, 0.0, visible)


def drawn(one: Sight, labelled: bool = True, count: int = 400) -> list[list[Proposal]]:
    owners = frozenset({0}) if labelled else frozenset[int]()
    return [detections([one], owners, CALIBRATION, np.random.default_rng(seed)) for seed in range(count)]


def found_share(one: Sight, labelled: bool = True) -> float:
    return float(np.mean([any(p.box.iou(one.image_box) >= 0.5 for p in proposals) for proposals in drawn(one, labelled)]))


def test_an_object_in_plain_view_is_found_nearly_always_in_a_close_box() -> None:
    one = sight()
    assert found_share(one) > 0.95
    best = [max((p.box.iou(one.image_box) for p in proposals), default=0.0) for proposals in drawn(one)]
    assert np.median(best) > 0.8
    assert max(best) < 1.0


def test_misses_grow_with_distance_with_occlusion_and_for_what_nobody_labels() -> None:
    near, far = found_share(sight(100.0)), found_share(sight(16.0))
    hidden = found_share(sight(visible=0.2))
    assert near > far > 0.3
    assert near > hidden + 0.1
    assert found_share(sight(25.0), labelled=False) < 0.3 * found_share(sight(25.0))


def test_confidence_goes_with_clarity() -> None:
    clear, faint = (
        np.mean([p.confidence or 0.0 for proposals in drawn(one) for p in proposals if p.box.iou(one.image_box) > 0.5])
        for one in (sight(100.0), sight(20.0, visible=0.4))
    )
    assert clear > faint + 0.2


@pytest.mark.parametrize("class_name", LABEL_CLASSES)
def test_hints_are_of_the_published_classes(class_name: str) -> None:
    hints = {proposal.class_hint for proposals in drawn(sight(class_name=class_name)) for proposal in proposals}
    assert hints <= set(CLASS_HINTS.values())


def test_clutter_is_taken_for_what_it_resembles_now_and_then() -> None:
    bush = sight(class_name="", lookalike="Cyclist")
    hints = [p.class_hint for proposals in drawn(bush) for p in proposals if p.box.iou(bush.image_box) > 0.3]
    assert 0.1 < hints.count("Cyclist") / 400 < 0.35
    plain = sight(class_name="")
    assert found_share(plain) < 0.05


def test_there_are_boxes_about_nothing() -> None:
    empty = [detections([], frozenset(), CALIBRATION, np.random.default_rng(seed)) for seed in range(300)]
    assert 0.3 < np.mean([len(proposals) for proposals in empty]) < 1.5


def test_all_proposals_lie_in_the_image_and_are_sure_of_themselves_to_some_degree() -> None:
    edge = Sight(0, "Car", "", BOX, ImageBox(0, 150, 40, 375), 0.8, 1.0)
    for proposals in drawn(edge):
        for proposal in proposals:
            check_inside_image(proposal.box, CALIBRATION)
            assert proposal.box.clipped(CALIBRATION.image_width_px, CALIBRATION.image_height_px) == proposal.box
            assert proposal.confidence is not None
            assert 0 <= proposal.confidence <= 1


def test_the_same_draws_give_the_same_proposals() -> None:
    assert drawn(sight(), count=20) == drawn(sight(), count=20)
