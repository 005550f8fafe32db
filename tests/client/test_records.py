from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from quandary import Calibration, EgoPose, FrameRecord, ImageBox, InvalidArgument, Proposal

STAMP = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def record(calibration: Calibration) -> FrameRecord:
    return FrameRecord("f", "d", STAMP, "file:///a.bin", calibration, [Proposal(ImageBox(0, 0, 9, 9))])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("frame_id", ""),
        ("drive_id", "a b"),
        ("stamp", datetime(2026, 1, 2)),
        ("cloud_uri", ""),
        ("cloud_uri", "x" * 2049),
        ("tags", {str(i): "" for i in range(33)}),
        ("tags", {"weather": "x" * 65}),
    ],
)
def test_refused_records(record: FrameRecord, field: str, value: Any) -> None:
    with pytest.raises(InvalidArgument) as error:
        replace(record, **{field: value})
    assert error.value.violations[0].field == field


def test_a_proposal_outside_the_image_is_named(record: FrameRecord) -> None:
    with pytest.raises(InvalidArgument) as error:
        replace(record, proposals=[*record.proposals, Proposal(ImageBox(0, 400, 9, 500))])
    assert error.value.violations[0].field == "proposals[1].box"


def test_the_default_tags_cannot_be_changed(record: FrameRecord) -> None:
    with pytest.raises(TypeError):
        record.tags["weather"] = "rain"  # type: ignore[index]


@pytest.mark.parametrize(
    ("field", "value"),
    [("qw", 2.0), ("qw", float("nan")), ("qw", 1e200), ("qw", float("inf")), ("x_m", float("inf")), ("x_m", float("nan"))],
)
def test_refused_poses(field: str, value: float) -> None:
    pose = {"x_m": 0.0, "y_m": 0.0, "z_m": 0.0, "qw": 1.0, "qx": 0.0, "qy": 0.0, "qz": 0.0, field: value}
    with pytest.raises(InvalidArgument) as error:
        EgoPose(**pose)
    assert error.value.violations[0].field == field
