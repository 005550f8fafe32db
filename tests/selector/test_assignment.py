import pytest

from quandary_server.selector.assignment import Assignment

DRIVES = [f"drive-{i}" for i in range(4000)]


def test_about_the_share_of_all_drives_are_control_drives() -> None:
    assignment = Assignment(0.1, frozenset(), seed=0)
    share = sum(assignment.queue(drive) == "control" for drive in DRIVES) / len(DRIVES)
    assert share == pytest.approx(0.1, abs=0.02)


def test_a_drive_keeps_its_queue_whatever_the_seed_and_a_larger_share_keeps_it_too() -> None:
    few, many = Assignment(0.1, frozenset(), seed=0), Assignment(0.3, frozenset(), seed=9)
    control = {drive for drive in DRIVES if few.queue(drive) == "control"}
    assert control <= {drive for drive in DRIVES if many.queue(drive) == "control"}


def test_named_drives_are_control_drives_and_no_share_means_no_others() -> None:
    assignment = Assignment(0.0, frozenset({"drive-7"}), seed=0)
    assert [drive for drive in DRIVES if assignment.queue(drive) == "control"] == ["drive-7"]


def test_the_shuffle_hangs_on_seed_and_frame_and_fits_the_store() -> None:
    first, second = Assignment(0.1, frozenset(), seed=0), Assignment(0.1, frozenset(), seed=1)
    places = [first.shuffle(f"f{i}") for i in range(200)]
    assert places == [first.shuffle(f"f{i}") for i in range(200)]
    assert len(set(places)) == 200
    assert places != sorted(places)
    assert places != [second.shuffle(f"f{i}") for i in range(200)]
    assert all(0 <= place < 2**63 for place in places)
