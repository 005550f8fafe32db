import pytest

from quandary.errors import InvalidArgument
from quandary_server.simulator import FleetSettings


def test_drives_are_numbered_through_the_splits() -> None:
    settings = FleetSettings(pool_drives=2, control_drives=1, evaluation_drives=2)
    assert settings.drives == 5
    places = [settings.place(drive) for drive in range(5)]
    assert places == [("pool", 0), ("pool", 1), ("control", 0), ("evaluation", 0), ("evaluation", 1)]


@pytest.mark.parametrize(("interval_s", "sweeps"), [(0.1, 1), (0.3, 3), (1.0, 10), (10.0, 100)])
def test_frames_are_whole_sweeps_apart(interval_s: float, sweeps: int) -> None:
    assert FleetSettings(frame_interval_s=interval_s).sweeps_between_frames == sweeps


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("pool_drives", -1),
        ("control_drives", 1001),
        ("evaluation_drives", -1),
        ("frames_per_drive", 0),
        ("frames_per_drive", 1001),
        ("frame_interval_s", 0.0),
        ("frame_interval_s", 0.25),
        ("frame_interval_s", 10.1),
        ("frame_interval_s", float("nan")),
        ("seed", -1),
    ],
)
def test_a_setting_out_of_bounds_is_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(InvalidArgument) as error:
        FleetSettings(**{field: value})  # type: ignore[arg-type]
    assert error.value.violations[0].field == field


def test_a_fleet_without_drives_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="drives is 0"):
        FleetSettings(0, 0, 0)
