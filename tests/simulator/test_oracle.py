import numpy as np
import pytest

from quandary.geometry import Box3D, ImageBox
from quandary_server.simulator.oracle import OracleLabels, oracle_labels
from quandary_server.simulator.sights import Sight

BOX = Box3D(20.0, 0.0, -1.0, 4.0, 1.6, 1.5, 0.0)


def car(height_px: float = 60.0, visible: float = 1.0, truncation: float = 0.0, class_name: str = "Car") -> Sight:
    return Sight(0, class_name, "", BOX, ImageBox(100, 150, 200, 150 + height_px), truncation, visible)


def labelled(sight: Sight, points: int = 100, strictness: tuple[float, float] = (0.0, 0.0)) -> OracleLabels:
    return oracle_labels([sight], np.array([points]), np.array([strictness]))


def test_an_object_in_plain_view_is_labelled_with_its_boxes() -> None:
    found = labelled(car(truncation=0.123))
    (label,) = found.content.labels
    assert (label.class_name, label.box, label.truncation, label.occlusion) == ("Car", BOX, 0.12, 0)
    assert found.content.boxes == (ImageBox(100, 150, 200, 210),)
    assert found.owners == (0,)


@pytest.mark.parametrize(("visible", "level"), [(1.0, 0), (0.86, 0), (0.8, 1), (0.5, 1), (0.4, 2), (0.15, 2)])
def test_occlusion_levels_follow_the_visible_share(visible: float, level: int) -> None:
    assert labelled(car(visible=visible)).content.labels[0].occlusion == level


def test_of_a_small_and_hidden_object_nobody_can_tell() -> None:
    assert labelled(car(height_px=22.0, visible=0.2)).content.labels[0].occlusion == 3


@pytest.mark.parametrize(
    "sight",
    [car(height_px=16.0), car(truncation=0.97), car(height_px=40.0, class_name="Pedestrian")],
    ids=["small", "cut off", "small for a person"],
)
def test_what_can_be_made_out_but_not_labelled_is_an_ignored_region(sight: Sight) -> None:
    found = labelled(sight)
    assert (found.content.labels, found.content.ignored_regions, found.owners) == ((), (sight.image_box,), ())


def test_an_object_without_points_is_ignored_unless_it_is_known_from_elsewhere() -> None:
    assert labelled(car(), points=1).content.ignored_regions == (car().image_box,)
    assert len(labelled(car(), points=1, strictness=(0.0, -3.0)).content.labels) == 1


@pytest.mark.parametrize(
    "sight", [car(visible=0.05), car(height_px=8.0), car(class_name="")], ids=["hidden", "tiny", "clutter"]
)
def test_what_cannot_be_made_out_leaves_no_trace(sight: Sight) -> None:
    found = labelled(sight)
    assert (found.content.labels, found.content.ignored_regions) == ((), ())


def test_the_stricter_the_taller_and_the_more_points() -> None:
    small = car(height_px=22.0)
    assert labelled(small, strictness=(0.0, 0.0)).owners
    assert not labelled(small, strictness=(1.0, 0.0)).owners
    assert labelled(car(), points=10, strictness=(0.0, 0.0)).owners
    assert not labelled(car(), points=10, strictness=(0.0, 1.0)).owners
