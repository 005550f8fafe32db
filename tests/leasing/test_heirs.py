"""Who takes the place of a task that ended without labels."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from quandary_server.leasing.heirs import Copy, heirs
from quandary_server.leasing.order import Place, PriorityBand

BEST = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def copy(name: str, at_s: float, score: float | None = None, band: PriorityBand = PriorityBand.ACTIVE_LEARNING) -> Copy:
    return Copy(Place(name, 0, score, band=band, folded=True), BEST + timedelta(seconds=at_s))


def test_the_first_in_lease_order_leads_those_that_are_near_to_it() -> None:
    found = heirs(BEST, [copy("a", 0.5, 0.1), copy("b", -0.2, 0.9), copy("c", 0.7)])
    assert list(found.items()) == [("b", None), ("a", "b"), ("c", None)]  # 0.9 s apart, where 0.7 is known to be near


def test_what_is_near_to_a_later_leader_is_folded_under_that() -> None:
    found = heirs(BEST, [copy("a", -1.0, 0.9), copy("b", 0.9, 0.5), copy("c", 1.0, 0.1)])
    assert found == {"a": None, "b": None, "c": "b"}


def test_bands_go_before_scores() -> None:
    found = heirs(BEST, [copy("a", 0.1, 0.9), copy("b", 0.1, 0.1, PriorityBand.SAFETY)])
    assert found == {"b": None, "a": "b"}


def test_nobody_inherits_where_nothing_was_folded() -> None:
    assert heirs(BEST, []) == {}


copies = st.lists(
    st.builds(copy, st.text("abc", min_size=1, max_size=3), st.floats(-2, 2), st.none() | st.floats(0, 1)),
    unique_by=lambda found: found.place.frame_id,
    min_size=1,
)


@given(copies)
def test_every_copy_leads_or_is_near_to_a_leader_before_it_and_leaders_are_apart(found: list[Copy]) -> None:
    led = heirs(BEST, found)
    by_name = {c.place.frame_id: c for c in found}
    reach = max(abs(c.stamp - BEST) for c in found)
    order = list(led)
    assert sorted(order) == sorted(by_name)
    leaders = [name for name, leader in led.items() if leader is None]
    for name, leader in led.items():
        if leader is not None:
            assert leader in leaders
            assert order.index(leader) < order.index(name)
            assert abs(by_name[name].stamp - by_name[leader].stamp) <= reach
    for i, one in enumerate(leaders):
        assert all(abs(by_name[one].stamp - by_name[other].stamp) > reach for other in leaders[:i])
