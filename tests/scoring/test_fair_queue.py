"""Shares in closed form: whoever waits gets its due, whatever the others bring."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quandary_server.scoring.fair_queue import FairQueue

CALLS = "calls"


def served(queue: FairQueue[tuple[str, float]], seconds: float) -> Counter[str]:
    """Serve so many seconds of work; return what each flow got, in milliseconds."""
    got: Counter[str] = Counter()
    while got.total() < seconds * 1e3 and (item := queue.pop()) is not None:
        got[item[0]] += round(item[1] * 1e3)
    return got


def filled(queue: FairQueue[tuple[str, float]], work: dict[str, float], count: int = 1000) -> FairQueue[tuple[str, float]]:
    for flow, work_s in work.items():
        for _ in range(count):
            queue.push(flow, (flow, work_s), work_s)
    return queue


def test_items_of_one_flow_keep_their_order() -> None:
    queue: FairQueue[int] = FairQueue(CALLS)
    for number in range(5):
        queue.push("a", number, 1.0)
    assert [queue.pop() for _ in range(6)] == [0, 1, 2, 3, 4, None]
    assert not queue


def test_flows_share_by_work_and_not_by_number_of_items() -> None:
    queue = filled(FairQueue(CALLS), {"small": 0.001, "large": 0.050})
    got = served(queue, 1.0)
    assert got["small"] == pytest.approx(got["large"], abs=50)


def test_the_favoured_flow_counts_as_much_as_all_others_together() -> None:
    queue = filled(FairQueue(CALLS), {CALLS: 0.010, "a": 0.010, "b": 0.010, "c": 0.010})
    got = served(queue, 1.2)
    assert got[CALLS] == pytest.approx(600, abs=30)
    assert [got[flow] for flow in "abc"] == [pytest.approx(200, abs=20)] * 3


def test_a_flow_alone_gets_everything() -> None:
    queue = filled(FairQueue(CALLS), {CALLS: 0.010})
    assert served(queue, 0.5) == {CALLS: 500}


def test_idling_earns_nothing_and_costs_nothing() -> None:
    queue = filled(FairQueue(CALLS), {"a": 0.010})
    served(queue, 2.0)
    filled(queue, {"b": 0.010})
    got = served(queue, 1.0)
    assert got["a"] == pytest.approx(500, abs=20)
    assert got["b"] == pytest.approx(500, abs=20)


def test_who_brings_one_large_item_at_a_time_gets_no_more_than_its_half() -> None:
    """Each is pushed when the one before was served, so that its flow is empty in between."""
    queue = filled(FairQueue(CALLS), {"stream": 0.001}, 5000)
    got: Counter[str] = Counter()
    while got.total() < 2000:
        if not queue.others_wait("stream"):
            queue.push(CALLS, (CALLS, 0.050), 0.050)
        item = queue.pop()
        assert item is not None
        got[item[0]] += round(item[1] * 1e3)
    assert got["stream"] == pytest.approx(1000, abs=50)


def test_what_is_discarded_is_not_served_and_costs_its_flow_nothing() -> None:
    queue: FairQueue[str] = FairQueue(CALLS)
    for item in ("a1", "a2", "a3"):
        queue.push("a", item, 1.0)
    queue.push("b", "b1", 1.0)
    queue.discard("a", "a1")
    queue.discard("a", "never there")
    queue.discard("nobody", "a2")
    assert [queue.pop() for _ in range(4)] == ["a2", "b1", "a3", None]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.001, 0.1)), min_size=1, max_size=60))
def test_all_is_served_once_and_of_flows_that_wait_none_gets_ahead_by_more_than_an_item_of_each(
    items: list[tuple[str, float]],
) -> None:
    """Theorem 1 of the paper, while all flows wait."""
    queue: FairQueue[int] = FairQueue(CALLS)
    for number, (flow, work_s) in enumerate(items):
        queue.push(flow, number, work_s)
    order = []
    while (found := queue.pop()) is not None:
        order.append(found)
    assert sorted(order) == list(range(len(items)))

    left = Counter(flow for flow, _ in items)
    longest = {flow: max(work_s for of, work_s in items if of == flow) for flow in left}
    had = dict.fromkeys(left, 0.0)
    for flow, work_s in (items[number] for number in order):
        left[flow] -= 1
        if not left[flow]:
            break
        had[flow] += work_s
        assert all(had[flow] - had[other] <= longest[flow] + longest[other] + 1e-9 for other in had)
