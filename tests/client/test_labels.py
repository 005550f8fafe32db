from datetime import timedelta
from typing import Any

import pytest

from quandary import BACKGROUND, CLASSES, LABEL_CLASSES, Box3D, FrameLabels, InvalidArgument, Label

BOX = Box3D(10, 0, 0, 4, 2, 1.5, 0)


def test_background_comes_last_and_is_never_labelled() -> None:
    assert (*LABEL_CLASSES, BACKGROUND) == CLASSES
    with pytest.raises(InvalidArgument, match="Background"):
        Label(BACKGROUND, BOX)


@pytest.mark.parametrize("name", LABEL_CLASSES)
def test_every_other_class_can_be_labelled(name: str) -> None:
    assert Label(name, BOX).class_name == name


@pytest.mark.parametrize(
    ("field", "value"),
    [("class_name", "Bus"), ("class_name", "car"), ("truncation", -0.1), ("truncation", 1.5), ("occlusion", 4)],
)
def test_refused_labels(field: str, value: Any) -> None:
    with pytest.raises(InvalidArgument) as error:
        Label(**{"class_name": "Car", "box": BOX, field: value})
    assert error.value.violations[0].field == field


@pytest.mark.parametrize(
    ("field", "value"),
    [("frame_id", "a b"), ("prelabel_generation", "a/b"), ("time_spent", timedelta(seconds=-1))],
)
def test_refused_frame_labels(field: str, value: Any) -> None:
    with pytest.raises(InvalidArgument) as error:
        FrameLabels(**{"frame_id": "f", field: value})
    assert error.value.violations[0].field == field


def test_no_object_is_a_valid_answer() -> None:
    assert FrameLabels("f").labels == ()
