import math
from dataclasses import replace
from time import process_time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quandary_server.selection.candidates import Candidates, Taken
from quandary_server.selection.folding import Nearness, siblings, spaced
from quandary_server.selection.ranking import top_k

from .pools import NOTHING, pool, pools, random_pool, taken


def split(candidates: Candidates, held: Taken, *near: float | None) -> tuple[list[int], list[int]]:
    kept, passed = spaced(top_k(candidates.scores, candidates.ids), candidates, held, Nearness(*near))  # type: ignore[arg-type]
    return kept.tolist(), passed.tolist()


def test_neighbours_of_one_drive_are_passed_over() -> None:
    found = pool([9.0, 8.0, 7.0, 6.0], drives=["x", "x", "y", "x"], stamps_s=[0.0, 0.5, 0.5, 1.0])
    assert split(found, NOTHING, 1.0) == ([0, 2, 3], [1])
    assert split(found, NOTHING, 0.0) == ([0, 1, 2, 3], [])


def test_neighbours_of_what_was_taken_before_are_passed_over_too() -> None:
    found = pool([9.0, 1.0], drives=["x", "x"], stamps_s=[0.2, 5.0])
    assert split(found, taken(["x", "y"], [0.0, 5.0]), 1.0) == ([1], [0])


def test_one_that_was_passed_over_holds_none_off() -> None:
    found = pool([3.0, 2.0, 1.0], stamps_s=[0.0, 0.9, 1.8])
    assert split(found, NOTHING, 1.0) == ([0, 2], [1])


@pytest.mark.parametrize("epoch_s", [0.0, 1_795_000_000.0])
@given(micros=st.integers(0, 10**9))
def test_a_gap_is_exact_to_the_microsecond(epoch_s: float, micros: int) -> None:
    start_s = epoch_s + micros / 1e6
    for gap_us, near in ((999_999, True), (1_000_000, False)):
        found = pool([2.0, 1.0], stamps_s=[start_s, epoch_s + (micros + gap_us) / 1e6])
        assert split(found, NOTHING, 1.0) == (([0], [1]) if near else ([0, 1], []))


def test_crops_of_one_frame_are_near_copies_only_where_they_look_alike() -> None:
    alike, other, unknown = [1.0, 0.1, 0.0], [0.0, 5.0, 0.0], [0.0, 0.0, 0.0]
    found = pool([4.0, 3.0, 2.0, 1.0], stamps_s=[7.0] * 4, embeddings=[[1.0, 0.0, 0.0], alike, other, unknown])
    assert split(found, NOTHING, 1.0) == ([0], [1, 2, 3])
    assert split(found, NOTHING, 1.0, 0.1) == ([0, 2], [1, 3])
    assert split(found, NOTHING, 1.0, 0.0) == ([0, 1, 2], [3])
    assert split(found, taken(["d"], [7.5], [other]), 1.0, 0.1) == ([0], [1, 2, 3])
    assert split(found, taken(["d"], [7.5]), 1.0, 0.1) == ([], [0, 1, 2, 3])


@given(pools(), pools(8), st.floats(0, 5), st.sampled_from([None, 0.2, 2.0]), st.sampled_from([None, 0.0, 2.0]))
def test_kept_are_apart_and_passed_over_are_near(
    found: Candidates, before: Candidates, gap_s: float, max_distance: float | None, gap_m: float | None
) -> None:
    held = replace(taken(before.drives.tolist(), before.stamps_s, before.embeddings), positions_m=before.positions_m)
    assert held.positions_m is not None
    assert found.positions_m is not None
    mine_m = found.positions_m
    order = top_k(found.scores, found.ids)
    kept, passed = spaced(order, found, held, Nearness(gap_s, max_distance, gap_m))
    assert sorted([*kept, *passed]) == list(range(len(found)))

    def near(index: int, drive: str, stamp_s: float, embedding: np.ndarray, position_m: np.ndarray) -> bool:
        close = found.drives[index] == drive and abs(found.stamps_s[index] - stamp_s) < gap_s - 5e-7
        lengths = np.linalg.norm(found.embeddings[index]) * np.linalg.norm(embedding)
        copies = max_distance is None or lengths == 0 or 1 - found.embeddings[index] @ embedding / lengths < max_distance
        moved_m = math.dist(mine_m[index], position_m)  # NaN where either is not known
        return bool(close and copies and not (gap_m is not None and moved_m >= gap_m))

    place = {int(index): at for at, index in enumerate(order)}
    for index in order.tolist():
        earlier = [other for other in kept if place[int(other)] < place[index]]
        others = zip(
            [*held.drives, *found.drives[earlier]],
            [*held.stamps_s, *found.stamps_s[earlier]],
            [*held.embeddings, *found.embeddings[earlier]],
            [*held.positions_m, *mine_m[earlier]],
            strict=True,
        )
        assert any(near(index, *other) for other in others) == (index in passed)
    for part in (kept, passed):
        assert part.tolist() == sorted(part.tolist(), key=place.__getitem__)


def test_a_car_that_moved_on_sees_something_else() -> None:
    found = pool([4.0, 3.0, 2.0, 1.0], stamps_s=[0.0, 0.3, 0.6, 0.9])
    moved = replace(found, positions_m=np.array([[0.0, 0, 0], [4.0, 3, 0], [4.9, 0, 0], [np.nan] * 3]))
    near = Nearness(1.0, gap_m=5.0)
    order = top_k(found.scores, found.ids)
    assert spaced(order, moved, NOTHING, near)[0].tolist() == [0, 1]
    assert spaced(order, found, NOTHING, near)[0].tolist() == [0]
    # whose pose is not known may have stood still
    assert siblings(np.array([0, 1]), moved, NOTHING, near).tolist() == [-1, -1, 1, 1]


def test_a_copy_is_folded_under_the_nearest_in_time_and_the_taken_before_the_picks() -> None:
    found = pool([4.0, 3.0, 2.0, 1.0], stamps_s=[0.0, 0.4, 0.5, 0.6])
    held = taken(["d", "d"], [1.0, 90.0])
    assert siblings(np.array([0]), found, held, Nearness(1.0)).tolist() == [-1, 2, 0, 0]
    assert siblings(np.array([0]), found, held, Nearness(0.0)).tolist() == [-1] * 4


def test_ten_thousand_crops_fold_in_a_moment() -> None:
    found = random_pool(np.random.default_rng(0), 10_000, size=64)
    started = process_time()
    kept, passed = spaced(top_k(found.scores, found.ids), found, NOTHING_64, Nearness(1.0, 0.3))
    assert process_time() - started < 5
    assert len(kept) + len(passed) == 10_000


NOTHING_64 = taken([], [], np.empty((0, 64)))
