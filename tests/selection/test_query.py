import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quandary_server.selection.balance import class_quota, stands_for
from quandary_server.selection.candidates import Candidates, Taken
from quandary_server.selection.core_set import k_centre, unit
from quandary_server.selection.folding import siblings, spaced
from quandary_server.selection.objects import Objects
from quandary_server.selection.plan import QueryPlan, Strategy
from quandary_server.selection.query import asked, query

from .pools import CLASSES, NOTHING, pool, pools, taken, with_objects

TOP_K = QueryPlan(Strategy.TOP_K)
DIVERSE = QueryPlan(Strategy.DIVERSE, shortlist=3.0)
EAST, NORTH, UP = np.eye(3)

plans = st.builds(
    QueryPlan,
    st.sampled_from(Strategy),
    shortlist=st.floats(1, 4),
    class_floor=st.sampled_from([0.0, 0.3, 1.0]),
    gap_s=st.sampled_from([0.0, 1.0, 4.0]),
    max_distance=st.sampled_from([None, 0.3]),
    gap_m=st.sampled_from([None, 2.0]),
    power=st.floats(0, 3),
    chance=st.sampled_from([0.0, 0.5]),
)
counts = st.integers(0, 35)
seeds = st.integers(0, 2**32 - 1)


def picked(candidates: Candidates, plan: QueryPlan, k: int, held: Taken = NOTHING, seed: int = 0) -> list[int]:
    return list(map(int, query(candidates, held, plan, k, np.random.default_rng(seed))))


def held(before: Candidates) -> Taken:
    return Taken(before.drives, before.stamps_s, before.embeddings, positions_m=before.positions_m)


def test_the_best_come_first_and_near_copies_fill_up_behind_them() -> None:
    found = pool([9.0, 8.0, 7.0, 6.0], drives=["x", "x", "y", "x"], stamps_s=[0.0, 0.5, 0.5, 1.0])
    plan = replace(TOP_K, gap_s=1.0)
    assert picked(found, plan, 3) == [0, 2, 3]
    assert picked(found, plan, 4) == picked(found, plan, 9) == [0, 2, 3, 1]
    assert picked(found, plan, 0) == []


def test_equal_scores_go_by_id() -> None:
    assert picked(pool([1.0, 2.0, 1.0], ids=["b", "c", "a"]), TOP_K, 3) == [1, 2, 0]


def test_a_diverse_query_spreads_over_its_shortlist_and_asks_for_the_best_first() -> None:
    found = pool([9.0, 8.0, 7.0, 6.0, 5.0], embeddings=[EAST, EAST, EAST, NORTH, UP])
    assert picked(found, TOP_K, 2) == [0, 1]
    assert picked(found, replace(DIVERSE, shortlist=2.0), 2) == [0, 3]
    assert picked(found, replace(DIVERSE, shortlist=2.5), 2, taken(["y"], [0.0], [EAST])) == [3, 4]
    assert picked(found, replace(DIVERSE, shortlist=1.4), 2) == [0, 1]  # the third of its shortlist is a copy as well


def test_a_core_set_comes_in_the_order_of_picking_so_that_every_start_is_one() -> None:
    found = pool([1.0, 2.0, 3.0, 4.0], embeddings=[EAST, EAST + 0.1 * UP, NORTH, EAST + 0.2 * UP])
    plan = QueryPlan(Strategy.K_CENTRE)
    assert picked(found, plan, 4) == [3, 2, 0, 1]
    assert picked(found, plan, 2, taken(["y"], [0.0], [NORTH])) == [3, 0]


def test_unknown_embeddings_come_last_and_without_any_the_best_are_picked() -> None:
    nowhere = np.zeros(3)
    found = pool([9.0, 8.0, 7.0, 6.0], embeddings=[nowhere, EAST, NORTH, EAST])
    assert picked(found, DIVERSE, 2) == [1, 2]
    assert picked(found, QueryPlan(Strategy.K_CENTRE), 4) == [1, 2, 3, 0]
    assert picked(pool([1.0, 3.0, 2.0]), DIVERSE, 2) == [1, 2]
    assert picked(pool([1.0, 3.0, 2.0], embeddings=np.empty((3, 0))), DIVERSE, 2, Taken.nothing(0)) == [1, 2]


def test_a_class_floor_reaches_beyond_the_shortlist() -> None:
    car, tram = [0.9, 0.0, 0.0, 0.1], [0.0, 0.0, 0.9, 0.1]
    found = pool(np.arange(9, 0, -1), class_shares=[car] * 8 + [tram], embeddings=[EAST, NORTH, UP] * 3)
    for plan in (TOP_K, replace(DIVERSE, shortlist=1.0), DIVERSE):
        assert 8 not in picked(found, plan, 3)
        assert picked(found, replace(plan, class_floor=1.0), 3)[-1] == 8


def test_a_core_set_keeps_away_from_what_the_class_floor_reserves() -> None:
    nothing, tram = [0.0] * CLASSES, [0.0, 0.0, 0.9, 0.1]
    found = pool([9.0, 8.0, 7.0], class_shares=[nothing, nothing, tram], embeddings=[EAST, NORTH, EAST])
    assert picked(found, replace(DIVERSE, class_floor=1.0), 2) == [1, 2]


def test_a_share_is_drawn_by_chance_among_likely_objects_and_spread_over_the_picks() -> None:
    scores = np.arange(100, 0, -1.0)
    shares = np.zeros((100, CLASSES))
    shares[:, -1] = 1.0
    shares[60:80] = np.eye(CLASSES)[0]
    found = pool(scores, class_shares=shares)
    plan = replace(TOP_K, chance=0.5)
    picks = picked(found, plan, 20)
    by_score, drawn = [i for i in picks if i < 10], [i for i in picks if i >= 10]
    assert by_score == list(range(10))
    assert len(drawn) == 10
    assert all(60 <= i < 80 for i in drawn)
    assert drawn != [i for i in picked(found, plan, 20, seed=1) if i >= 10]
    assert picked(found, plan, 1) == [0]  # half of one is none
    # every start holds half of either
    assert all(abs(sum(i < 10 for i in picks[:start]) - start / 2) <= 1 for start in range(21))


def test_chance_alone_asks_no_score() -> None:
    found = pool(np.arange(50.0), class_shares=np.tile(np.eye(CLASSES)[0], (50, 1)))
    means = [np.mean(picked(found, replace(TOP_K, chance=1.0), 10, seed=seed)) for seed in range(60)]
    assert np.mean(means) == pytest.approx(24.5, abs=2.5)


def test_a_budget_ends_the_picks() -> None:
    found = pool([3.0, 2.0, 1.0], seconds=[10, 30, 5])
    assert query(found, NOTHING, TOP_K, 3, np.random.default_rng(0), budget_s=20.0).tolist() == [0]


def test_what_means_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="k must be >= 0"):
        picked(pool([1.0]), TOP_K, -1)
    with pytest.raises(ValueError, match="one size, they have 3 and 2"):
        picked(pool([1.0]), TOP_K, 1, Taken.nothing(2))


@given(pools(), pools(8), plans, counts, seeds)
def test_as_many_as_asked_for_each_once(found: Candidates, before: Candidates, plan: QueryPlan, k: int, seed: int) -> None:
    picks = picked(found, plan, k, held(before), seed)
    assert len(picks) == len(set(picks)) == min(k, len(found))


@given(pools(), pools(8), plans, counts, seeds)
def test_the_order_of_candidates_and_taken_changes_nothing(
    found: Candidates, before: Candidates, plan: QueryPlan, k: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    shuffled, backwards = rng.permutation(len(found)), np.arange(len(before))[::-1]
    picks = picked(found, plan, k, held(before), seed)
    again = picked(found.take(shuffled), plan, k, held(before.take(backwards)), seed)
    assert shuffled[again].tolist() == picks


@given(pools(), pools(8), plans, counts, seeds, st.floats(0, 100))
def test_the_budget_holds_and_the_next_would_break_it(
    found: Candidates, before: Candidates, plan: QueryPlan, k: int, seed: int, budget_s: float
) -> None:
    picks = picked(found, plan, k, held(before), seed)
    fit = query(found, held(before), plan, k, np.random.default_rng(seed), budget_s).tolist()
    assert fit == picks[: len(fit)]
    assert found.seconds[fit].sum() <= budget_s + 1e-9 or len(fit) == 1
    assert min(len(picks), 1) <= len(fit)
    assert len(fit) == len(picks) or found.seconds[picks[: len(fit) + 1]].sum() > budget_s - 1e-9


@given(pools(), pools(8), plans, counts, seeds)
def test_picks_are_apart_while_there_are_enough_that_are(
    found: Candidates, before: Candidates, plan: QueryPlan, k: int, seed: int
) -> None:
    if plan.strategy in (Strategy.RANDOM, Strategy.POWER):
        plan = replace(plan, strategy=Strategy.TOP_K)  # in an order by chance others are apart, perhaps fewer
    apart, _ = spaced(np.argsort(-found.scores), found, held(before), plan.nearness)
    picks = np.array(picked(found, plan, min(k, len(apart)), held(before), seed), np.intp)
    assert set(picks.tolist()) <= set(apart.tolist())
    by_score = picks[np.argsort(-found.scores[picks])]
    assert len(spaced(by_score, found, NOTHING, plan.nearness)[1]) == 0


@given(pools(), plans, counts, seeds)
def test_the_class_floor_holds(found: Candidates, plan: QueryPlan, k: int, seed: int) -> None:
    plan = replace(plan, gap_s=0.0)
    by_score = k - math.floor(plan.chance * min(k, len(found)))
    quota, stands = class_quota(by_score, CLASSES, plan.class_floor), stands_for(found.class_shares)
    picks = picked(found, plan, k, seed=seed)
    if quota * (CLASSES - 1) <= by_score:
        assert (stands[picks].sum(axis=0) >= np.minimum(quota, stands.sum(axis=0))).all()


@given(pools(), pools(8), plans, counts)
def test_a_shortlist_of_one_is_the_top_k(found: Candidates, before: Candidates, plan: QueryPlan, k: int) -> None:
    plan = replace(plan, strategy=Strategy.TOP_K, shortlist=1.0)
    picks = picked(found, plan, k, held(before))
    assert picked(found, replace(plan, strategy=Strategy.DIVERSE), k, held(before)) == picks


@given(pools(), pools(8), counts)
def test_a_core_set_without_more_is_k_centre_itself(found: Candidates, before: Candidates, k: int) -> None:
    found, before = with_known_embeddings(found), with_known_embeddings(before)
    best_first = np.lexsort((found.ids, -found.scores))
    expected = best_first[k_centre(unit(found.embeddings[best_first]), unit(before.embeddings), k)]
    assert picked(found, QueryPlan(Strategy.K_CENTRE), k, held(before)) == expected.tolist()


def with_known_embeddings(candidates: Candidates) -> Candidates:
    shifted = candidates.embeddings + np.float32(0.25)
    return replace(candidates, embeddings=shifted.astype(np.float32))


def test_a_cover_asks_first_for_what_tells_most_in_all() -> None:
    found = pool([0.9, 0.4, 0.1])
    objects = Objects(np.array([0, 1, 1, 1]), np.array([0.9, 0.4, 0.4, 0.4]), np.zeros((4, 3), np.float32))
    # three objects of 0.4 tell more than one of 0.9; of the last nothing but its score is known
    assert picked(replace(found, objects=objects), QueryPlan(Strategy.COVER), 3) == [1, 0, 2]


def test_what_the_class_floor_reserves_stands_where_the_cover_has_it() -> None:
    nothing, tram = [0.0] * CLASSES, [0.0, 0.0, 0.9, 0.1]
    objects = Objects(np.arange(3), np.array([0.9, 0.5, 0.1]), np.eye(3, dtype=np.float32))
    found = replace(pool([0.9, 0.5, 0.1], class_shares=[nothing, nothing, tram]), objects=objects)
    assert picked(found, QueryPlan(Strategy.COVER, class_floor=1.0), 2) == [0, 2]


def test_with_folds_near_copies_are_not_asked_for_but_named() -> None:
    found = pool([9.0, 8.0, 7.0, 6.0], drives=["x", "x", "y", "x"], stamps_s=[0.0, 0.5, 0.5, 1.0])
    plan = replace(TOP_K, gap_s=1.0, fold=True)
    answer = asked(found, NOTHING, plan, 9, np.random.default_rng(0))
    assert answer.picks.tolist() == [0, 2, 3]
    assert answer.under.tolist() == [-1, 0, -1, -1]  # as near to 3, which is asked for later
    one = asked(found, NOTHING, plan, 1, np.random.default_rng(0))
    assert (one.picks.tolist(), one.under.tolist()) == ([0], [-1, 0, -1, -1])


def test_near_copies_of_what_this_generation_asked_for_stay_folded_and_older_ones_come_last() -> None:
    found = pool([9.0, 8.0, 7.0], drives=["x", "y", "z"], stamps_s=[0.0, 0.0, 0.0])
    plan = replace(TOP_K, gap_s=1.0, fold=True)
    before = replace(taken(["y", "x"], [0.5, 0.5]), folds=np.array([False, True]))
    answer = asked(found, before, plan, 9, np.random.default_rng(0))
    assert answer.picks.tolist() == [2, 1]
    assert answer.under.tolist() == [1, -1, -1]  # the second of the taken


def test_where_nothing_else_is_left_copies_of_the_labelled_are_asked_for_and_those_of_the_leased_are_not() -> None:
    found = pool([9.0, 8.0, 7.0], drives=["x", "y", "y"], stamps_s=[0.0, 0.0, 0.1])
    plan = replace(TOP_K, gap_s=1.0, fold=True)
    yes = np.array([True, True])
    before = replace(taken(["y", "x"], [0.5, 0.5]), folds=yes, leased=np.array([False, True]))
    answer = asked(found, before, plan, 9, np.random.default_rng(0))
    assert answer.picks.tolist() == [1]
    assert answer.under.tolist() == [1, -1, 3]
    assert asked(found, replace(before, leased=yes), plan, 9, np.random.default_rng(0)).picks.tolist() == []


@given(pools(), pools(8), plans, counts, seeds)
def test_folded_is_what_is_near_to_a_pick_or_held_off_and_nothing_that_is_picked(
    found: Candidates, before: Candidates, plan: QueryPlan, k: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    plan, found = replace(plan, fold=True), with_objects(found, rng)
    folds = rng.random(len(before)) < 0.5
    earlier = replace(held(before), folds=folds, leased=folds & (rng.random(len(before)) < 0.5))
    answer = asked(found, earlier, plan, k, rng)
    assert (answer.under[answer.picks] == -1).all()
    near = siblings(answer.picks, found, earlier.take(folds), plan.nearness) >= 0
    assert ((answer.under >= 0) == near).all()
    under = answer.under[near]
    assert set(under.tolist()) <= {*np.flatnonzero(folds).tolist(), *(len(before) + answer.picks).tolist()}
    if plan.gap_s and k and len(found) and not folds.any():
        assert len(answer.picks)


@given(pools(), pools(8), plans, counts, seeds)
def test_with_objects_and_folds_the_order_of_candidates_changes_nothing(
    found: Candidates, before: Candidates, plan: QueryPlan, k: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    plan, found = replace(plan, fold=True), with_objects(found, rng)
    shuffled = rng.permutation(len(found))
    answer = asked(found, held(before), plan, k, np.random.default_rng(seed))
    again = asked(found.take(shuffled), held(before), plan, k, np.random.default_rng(seed))
    assert shuffled[again.picks].tolist() == answer.picks.tolist()
    assert (again.under >= 0).tolist() == (answer.under >= 0)[shuffled].tolist()
