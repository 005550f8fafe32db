import math
from dataclasses import replace

import pytest

from quandary_server.selection.plan import QueryPlan, Strategy


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("shortlist", 0.9),
        ("shortlist", math.inf),
        ("class_floor", 1.1),
        ("gap_s", -1.0),
        ("gap_s", math.nan),
        ("max_distance", 2.1),
        ("power", -0.1),
        ("chance", 1.1),
        ("gap_m", -1.0),
        ("gap_m", math.nan),
        ("reach", 0.0),
        ("reach", 2.1),
    ],
)
def test_what_is_wrong_with_a_plan_is_named(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{field} is {value}"):
        replace(QueryPlan(Strategy.DIVERSE), **{field: value})  # type: ignore[arg-type]


def test_class_shares_are_needed_where_a_floor_or_chance_asks_for_objects() -> None:
    assert not QueryPlan(Strategy.TOP_K).needs_class_shares
    assert QueryPlan(Strategy.TOP_K, class_floor=0.1).needs_class_shares
    assert QueryPlan(Strategy.TOP_K, chance=0.1).needs_class_shares


def test_embeddings_are_needed_only_where_they_decide() -> None:
    assert not QueryPlan(Strategy.TOP_K, shortlist=3.0, gap_s=1.0).needs_embeddings
    assert not QueryPlan(Strategy.DIVERSE).needs_embeddings
    assert not QueryPlan(Strategy.TOP_K, max_distance=0.1).needs_embeddings
    assert QueryPlan(Strategy.TOP_K, gap_s=1.0, max_distance=0.1).needs_embeddings
    assert QueryPlan(Strategy.DIVERSE, shortlist=3.0).needs_embeddings
    assert QueryPlan(Strategy.K_CENTRE).needs_embeddings


def test_a_cover_needs_objects_and_no_embeddings_of_frames() -> None:
    plan = QueryPlan(Strategy.COVER, gap_s=1.0)
    assert (plan.needs_objects, plan.needs_embeddings, QueryPlan(Strategy.TOP_K).needs_objects) == (True, False, False)
