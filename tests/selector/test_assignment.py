import pytest
from hypothesis import given
from hypothesis import strategies as st

from quandary_server.selector.assignment import Assignment
from quandary_server.settings import QueueSettings

DRIVES = [f"drive-{i}" for i in range(4000)]


def test_about_the_share_of_all_drives_are_control_drives() -> None:
    assignment = Assignment(0.1, frozenset(), seed=0)
    share = sum(assignment.queue(drive, {}) == "control" for drive in DRIVES) / len(DRIVES)
    assert share == pytest.approx(0.1, abs=0.02)


def test_a_drive_keeps_its_queue_whatever_the_seed_and_a_larger_share_keeps_it_too() -> None:
    few, many = Assignment(0.1, frozenset(), seed=0), Assignment(0.3, frozenset(), seed=9)
    control = {drive for drive in DRIVES if few.queue(drive, {}) == "control"}
    assert control <= {drive for drive in DRIVES if many.queue(drive, {}) == "control"}


def test_named_drives_are_control_drives_and_no_share_means_no_others() -> None:
    assignment = Assignment(0.0, frozenset({"drive-7"}), seed=0)
    assert [drive for drive in DRIVES if assignment.queue(drive, {}) == "control"] == ["drive-7"]


def test_the_shuffle_hangs_on_seed_and_frame_and_fits_the_store() -> None:
    first, second = Assignment(0.1, frozenset(), seed=0), Assignment(0.1, frozenset(), seed=1)
    places = [first.shuffle(f"f{i}") for i in range(200)]
    assert places == [first.shuffle(f"f{i}") for i in range(200)]
    assert len(set(places)) == 200
    assert places != sorted(places)
    assert places != [second.shuffle(f"f{i}") for i in range(200)]
    assert all(0 <= place < 2**63 for place in places)


NIGHT = QueueSettings(name="night", tags={"light": "night", "weather": "dry"})
BERLIN = QueueSettings(name="berlin", drives=("berlin-*", "potsdam-?"))
WET_BERLIN = QueueSettings(name="wet", drives=("berlin-*",), tags={"weather": "rain"})


@pytest.mark.parametrize(
    ("drive", "tags", "queue"),
    [
        ("a", {"light": "night", "weather": "dry", "more": ""}, "night"),
        ("a", {"light": "night"}, "active"),
        ("a", {"light": "Night", "weather": "dry"}, "active"),
        ("berlin-1", {"light": "night", "weather": "dry"}, "night"),
        ("berlin-1", {"weather": "rain"}, "wet"),
        ("berlin-1", {}, "berlin"),
        ("potsdam-7", {}, "berlin"),
        ("potsdam-77", {"weather": "rain"}, "active"),
        ("Berlin-1", {}, "active"),
    ],
)
def test_the_first_queue_that_takes_a_frame_has_it(drive: str, tags: dict[str, str], queue: str) -> None:
    assert Assignment(0.0, frozenset(), 0, (NIGHT, WET_BERLIN, BERLIN)).queue(drive, tags) == queue


@given(st.floats(0, 1), st.sampled_from(DRIVES), st.sampled_from([{}, {"light": "night", "weather": "dry"}]))
def test_no_rule_takes_a_control_drive_or_makes_one(share: float, drive: str, tags: dict[str, str]) -> None:
    rules = (NIGHT, QueueSettings(name="all", drives=("*",)))
    without, queues = Assignment(share, frozenset(), 0), Assignment(share, frozenset(), 0, rules)
    assert (queues.queue(drive, tags) == "control") == (without.queue(drive, tags) == "control")
    assert queues.ranked_queue(drive, tags) == ("night" if tags else "all")
