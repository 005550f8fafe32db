"""Which band gets the next lease, and that none starves."""

from collections import Counter, deque
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quandary_server.leasing.bands import Turn, turns
from quandary_server.leasing.order import Place, PriorityBand, keys_of

SAFETY, CAMPAIGN, ACTIVE = PriorityBand
AT_MOST = 4
MANY = 1_000


def bands_of(waiting: dict[PriorityBand, int], count: int, at_most: int = AT_MOST) -> list[PriorityBand]:
    return [turn.band for turn in turns(waiting, {}, count, at_most)[0]]


def test_a_band_alone_gets_every_lease() -> None:
    assert bands_of({ACTIVE: 3}, 10) == [ACTIVE] * 3
    assert bands_of({}, 10) == []


@pytest.mark.parametrize("lower", [CAMPAIGN, ACTIVE])
def test_of_two_bands_the_lower_gets_every_fifth_lease(lower: PriorityBand) -> None:
    assert bands_of({SAFETY: MANY, lower: MANY}, 15) == ([SAFETY] * 4 + [lower]) * 3


def test_of_three_bands_each_lower_one_gets_a_sixth_and_is_told_for_what() -> None:
    found, _ = turns(dict.fromkeys(PriorityBand, MANY), {}, 12, AT_MOST)
    assert [turn.band for turn in found] == ([SAFETY] * 4 + [CAMPAIGN, ACTIVE]) * 2
    assert found[4:6] == [Turn(CAMPAIGN, 4), Turn(ACTIVE, 5)]
    assert found[0] == Turn(SAFETY)


def test_the_share_is_the_same_one_by_one_as_all_at_once() -> None:
    passed: dict[PriorityBand, int] = {}
    found = []
    for _ in range(60):
        got, passed = turns(dict.fromkeys(PriorityBand, MANY), passed, 1, AT_MOST)
        found += [turn.band for turn in got]
    assert found == bands_of(dict.fromkeys(PriorityBand, MANY), 60)


def test_whom_nobody_waits_behind_passes_nobody_over() -> None:
    _, passed = turns({SAFETY: 10}, {ACTIVE: 2}, 10, AT_MOST)
    assert passed == {SAFETY: 0, CAMPAIGN: 0, ACTIVE: 2}


ARRIVALS = st.lists(st.dictionaries(st.sampled_from(PriorityBand), st.integers(0, 4)), min_size=1, max_size=60)


@given(ARRIVALS, st.integers(1, 6), st.integers(1, 4))
def test_whenever_whatever_comes_no_band_starves_and_the_order_within_each_is_kept(
    arrivals: list[dict[PriorityBand, int]], at_most: int, count: int
) -> None:
    waiting: dict[PriorityBand, deque[int]] = {band: deque() for band in PriorityBand}
    came, passed, leases_since = Counter[PriorityBand](), dict[PriorityBand, int](), Counter[PriorityBand]()
    for arriving in arrivals:
        for band, more in arriving.items():
            waiting[band].extend(range(came[band], came[band] + more))
            came[band] += more
        before = {band: len(tasks) for band, tasks in waiting.items()}
        found, passed = turns(before, passed, count, at_most)
        assert len(found) == min(count, sum(before.values()))
        for turn in found:
            task = waiting[turn.band].popleft()
            assert task == came[turn.band] - len(waiting[turn.band]) - 1
            leases_since[turn.band] = 0
            for band, tasks in waiting.items():
                if tasks and band > turn.band:
                    leases_since[band] += 1
                    assert leases_since[band] <= at_most + 1, f"{band.name} starves"


@given(st.integers(1, 10))
def test_the_highest_band_keeps_the_most(at_most: int) -> None:
    got = Counter(bands_of(dict.fromkeys(PriorityBand, MANY), 10 * (at_most + 2), at_most))
    assert got == {SAFETY: 10 * at_most, CAMPAIGN: 10, ACTIVE: 10}


def test_the_keys_of_a_band_are_those_of_its_places_that_are_not_pinned() -> None:
    for one, other in pairwise(PriorityBand):
        assert keys_of(one)[1] == keys_of(other)[0]
    for band in PriorityBand:
        low, high = keys_of(band)
        assert low <= Place("f", 0, band=band).key() < high
        assert low <= Place("f", 2**63 - 1, score=-1e300, rank=2**32 - 1, epoch=2**31 - 1, band=band).key() < high
        assert not low <= Place("f", 0, band=band, pinned=True).key() < high
