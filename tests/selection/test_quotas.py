"""Quotas of classes, drives and tags: what is in a group, and what a query with quotas picks."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from quandary_server.selection.balance import stands_for
from quandary_server.selection.candidates import Candidates, Taken
from quandary_server.selection.plan import QueryPlan, Strategy
from quandary_server.selection.query import query
from quandary_server.selection.quotas import ClassQuota, DriveQuota, Quota, TagQuota, Traits, groups

from .pools import CLASSES, NOTHING, pool, pools, with_objects

TOP_K = QueryPlan(Strategy.TOP_K)
WEATHER = "weather"

quotas = st.lists(
    st.one_of(
        st.builds(ClassQuota, least=st.sampled_from([0.0, 0.2]), most=st.sampled_from([0.25, 0.5]), index=st.integers(0, 2)),
        st.builds(ClassQuota, most=st.sampled_from([0.3, 0.6])),
        st.builds(DriveQuota, most=st.sampled_from([0.0, 0.34, 0.5])),
        st.builds(DriveQuota, least=st.sampled_from([0.0, 0.25]), pattern=st.sampled_from(["x", "[yz]", "*"])),
        st.builds(TagQuota, most=st.sampled_from([0.5, 0.1]), key=st.just(WEATHER)),
        st.builds(TagQuota, least=st.sampled_from([0.0, 0.4]), key=st.just(WEATHER), value=st.sampled_from(["rain", "hail"])),
    ),
    min_size=1,
    max_size=3,
).map(tuple)
seeds = st.integers(0, 2**32 - 1)


def tagged(candidates: Candidates, seed: int) -> Candidates:
    drawn = np.random.default_rng(seed).choice(["", "rain", "snow"], size=(len(candidates), 1))
    return replace(candidates, tags=drawn.astype(np.str_))


def before(candidates: Candidates) -> Taken:
    """The candidates as what the newest generation has asked for already."""
    folds = np.ones(len(candidates), np.bool_)
    return Taken(
        candidates.drives,
        candidates.stamps_s,
        candidates.embeddings,
        folds=folds,
        class_shares=candidates.class_shares,
        tags=candidates.tags,
    )


def picked(candidates: Candidates, plan: QueryPlan, k: int, held: Taken = NOTHING, seed: int = 0, **more: float) -> list[int]:
    return list(map(int, query(candidates, held, plan, k, np.random.default_rng(seed), **more)))


def members(quota: Quota, frames: Candidates | Taken) -> list[NDArray[np.bool_]]:
    """Return who is in each group of a quota, told the long way."""
    assert frames.class_shares is not None
    assert frames.tags is not None
    match quota:
        case ClassQuota(index=None):
            return list(stands_for(frames.class_shares).T)
        case ClassQuota(index=int(index)):
            return [stands_for(frames.class_shares)[:, index]]
        case DriveQuota(pattern=None):
            return [frames.drives == drive for drive in "xyz"]
        case DriveQuota(pattern=pattern):
            which = {"x": "x", "[yz]": "yz", "*": "xyz"}[str(pattern)]
            return [np.isin(frames.drives, list(which))]
        case TagQuota(value=None):
            return [frames.tags[:, 0] == value for value in ("rain", "snow")]
        case TagQuota(value=value):
            return [frames.tags[:, 0] == value]
    raise AssertionError(quota)


def test_a_frame_is_in_the_groups_that_it_stands_for() -> None:
    shares = np.array([[0.9, 0.6, 0, 0.1], [0.1, 0, 0, 0.9], [0, 0, 2.0, 0]])
    frames = Traits(np.array(["a-1", "b-1", "a-2"]), shares, {WEATHER: np.array(["rain", "", "dry"])})
    assert groups(ClassQuota(index=1), frames).tolist() == [[0], [-1], [-1]]
    assert groups(ClassQuota(), frames).tolist() == [[0, 0, -1], [-1, -1, -1], [-1, -1, 0]]
    assert groups(DriveQuota(pattern="a-*"), frames).tolist() == [[0], [-1], [0]]
    assert len(np.unique(groups(DriveQuota(), frames))) == 3
    assert groups(TagQuota(key=WEATHER, value="dry"), frames).tolist() == [[-1], [-1], [0]]
    each = groups(TagQuota(key=WEATHER), frames)[:, 0].tolist()
    assert each[1] == -1
    assert len(set(each)) == 3


def test_what_cannot_be_is_refused() -> None:
    frames = Traits(np.array(["a"]), np.zeros((1, 4)), {})
    with pytest.raises(ValueError, match=r"least is 0\.5, must be 0 to most, 0\.25"):
        DriveQuota(least=0.5, most=0.25)
    with pytest.raises(ValueError, match=r"most is 1\.5, must be 0 to 1"):
        DriveQuota(most=1.5)
    with pytest.raises(ValueError, match="index is 3, must be of a class but Background: 0 to 2"):
        groups(ClassQuota(index=3), frames)
    with pytest.raises(ValueError, match="tags must have weather, they have none"):
        groups(TagQuota(key=WEATHER), frames)


def test_a_share_of_a_drive_holds_in_every_start_and_the_best_others_come_in() -> None:
    found = pool([9.0, 8.0, 7.0, 6.0, 5.0, 4.0], drives=["x", "x", "x", "x", "y", "y"])
    plan = replace(TOP_K, quotas=(DriveQuota(most=0.5, pattern="x"),))
    assert picked(found, plan, 4) == [0, 4, 1, 5]
    assert picked(found, plan, 6) == [0, 4, 1, 5, 2, 3]  # nothing else is left


def test_a_drive_of_which_nothing_is_wanted_comes_last() -> None:
    found = pool([9.0, 8.0, 7.0], drives=["x", "y", "x"])
    plan = replace(TOP_K, quotas=(DriveQuota(most=0.0, pattern="x"), DriveQuota(most=0.1)))
    assert picked(found, plan, 2) == [1, 0]


def test_where_all_break_a_quota_the_least_broken_goes_on() -> None:
    found = pool([9.0, 8.0, 7.0, 6.0, 5.0, 4.0], drives=["x", "x", "x", "y", "y", "y"])
    plan = replace(TOP_K, quotas=(DriveQuota(most=0.1),))
    assert picked(found, plan, 6) == [0, 3, 1, 4, 2, 5]


def test_a_least_is_filled_as_soon_as_it_is_due_and_as_far_as_there_are_any() -> None:
    found = replace(pool([9.0, 8.0, 7.0, 6.0, 5.0]), tags=np.array([[""], [""], [""], ["rain"], ["snow"]]))
    plan = replace(TOP_K, quotas=(TagQuota(least=0.5, key=WEATHER, value="rain"),))
    assert picked(found, plan, 3) == [0, 3, 1]
    assert picked(found, plan, 4) == [0, 3, 1, 2]


def test_a_most_goes_before_a_least_and_before_the_class_floor() -> None:
    shares = np.eye(CLASSES)[[0, 0, 1, 1, 2, 2]]
    found = pool([9.0, 8.0, 7.0, 6.0, 5.0, 4.0], drives=["x", "x", "x", "x", "y", "y"], class_shares=shares)
    plan = replace(TOP_K, class_floor=1.0, quotas=(ClassQuota(least=0.5, index=1), DriveQuota(most=0.25, pattern="x")))
    assert picked(found, replace(plan, quotas=()), 3) == [0, 2, 4]
    assert picked(found, plan, 3) == [0, 4, 5]


def test_what_the_generation_asked_for_before_counts_and_what_older_ones_did_does_not() -> None:
    found = replace(pool([9.0, 8.0, 7.0], drives=["x", "x", "y"]), tags=np.empty((3, 0), np.str_))
    mine = before(replace(pool([1.0, 1.0], drives=["x", "x"], stamps_s=[1e6, 2e6]), tags=np.empty((2, 0), np.str_)))
    plan = replace(TOP_K, quotas=(DriveQuota(most=0.5, pattern="x"),))
    assert picked(found, plan, 2) == [0, 2]
    assert picked(found, plan, 2, mine) == [2, 0]
    assert picked(found, plan, 2, replace(mine, folds=None)) == [0, 2]


def test_a_shortlist_keeps_the_quotas_so_that_the_core_set_is_of_what_may_be_picked() -> None:
    east, north = np.eye(3)[:2]
    scores = [9.0, 8.0, 7.0, 6.0, 5.0, 4.0]
    found = pool(scores, drives=["x"] * 4 + ["y"] * 2, embeddings=[east] * 5 + [north])
    plan = QueryPlan(Strategy.DIVERSE, shortlist=2.0, quotas=(DriveQuota(most=0.5, pattern="x"),))
    assert picked(found, plan, 2) == [0, 5]


def test_the_budget_ends_what_the_quotas_left() -> None:
    found = pool([9.0, 8.0, 7.0], drives=["x", "x", "y"], seconds=[1.0, 1.0, 5.0])
    plan = replace(TOP_K, quotas=(DriveQuota(most=0.5, pattern="x"),))
    assert picked(found, plan, 3, budget_s=6.0) == [0, 2]
    assert picked(found, plan, 3, budget_s=5.0) == [0]


@given(pools(), pools(max_size=8), quotas, st.sampled_from(Strategy), st.integers(0, 35), seeds)
def test_no_quota_is_broken_while_another_candidate_breaks_none_and_what_is_due_goes_first(
    found: Candidates, asked: Candidates, wanted: tuple[Quota, ...], strategy: Strategy, k: int, seed: int
) -> None:
    found, held = tagged(with_objects(found, np.random.default_rng(seed)), seed), before(tagged(asked, seed + 1))
    plan = QueryPlan(strategy, shortlist=2.0, class_floor=0.3, chance=0.5, quotas=wanted)
    picks = picked(found, plan, k, held, seed)
    assert len(set(picks)) == len(picks) == min(k, len(found))
    bounds = [
        (quota, inside, int(had.sum()))
        for quota in wanted
        for inside, had in zip(members(quota, found), members(quota, held), strict=True)
    ]
    for place, pick in enumerate(picks):
        left = np.setdiff1d(np.arange(len(found)), picks[:place])
        total = len(held) + place + 1
        counts = [had + int(inside[picks[:place]].sum()) for _, inside, had in bounds]
        full = [inside for (quota, inside, _), count in zip(bounds, counts, strict=True) if count + 1 > quota.room(total)]
        breaks = np.logical_or.reduce([np.zeros(len(found), np.bool_), *full])
        if breaks[pick]:
            assert breaks[left].all()
            continue
        short = [inside for (quota, inside, _), count in zip(bounds, counts, strict=True) if count < quota.due(total)]
        due = np.logical_or.reduce([np.zeros(len(found), np.bool_), *short])
        assert due[pick] or not (due & ~breaks)[left].any()


@given(pools(), quotas, st.sampled_from(Strategy), st.integers(0, 35), seeds)
def test_neither_order_nor_another_run_changes_what_is_picked(
    found: Candidates, wanted: tuple[Quota, ...], strategy: Strategy, k: int, seed: int
) -> None:
    found = tagged(found, seed)
    plan = QueryPlan(strategy, shortlist=2.0, gap_s=1.0, chance=0.5, quotas=wanted)
    picks = picked(found, plan, k, seed=seed)
    shuffled = np.random.default_rng(seed).permutation(len(found))
    again = picked(found.take(shuffled), plan, k, seed=seed)
    assert found.ids[picks].tolist() == found.ids[shuffled[again]].tolist()


@given(pools(), st.sampled_from(Strategy), st.integers(0, 35), seeds)
def test_quotas_that_bind_nothing_change_nothing(found: Candidates, strategy: Strategy, k: int, seed: int) -> None:
    found = tagged(with_objects(found, np.random.default_rng(seed)), seed)
    plan = QueryPlan(strategy, shortlist=2.0, class_floor=0.3, gap_s=1.0, chance=0.5, fold=True)
    free = (ClassQuota(), DriveQuota(), TagQuota(key=WEATHER))
    assert picked(found, replace(plan, quotas=free), k, seed=seed) == picked(found, plan, k, seed=seed)
