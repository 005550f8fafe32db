from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from quandary_server.selection.candidates import Candidates, Taken
from quandary_server.selection.cover import cover, totals
from quandary_server.selection.objects import Objects

from .pools import NOTHING, pool, pools, taken, with_objects

EAST, NORTH, UP = np.eye(3, dtype=np.float32)
NOWHERE = np.zeros(3, np.float32)


def shown(candidates: Candidates, *frames: list[tuple[float, np.ndarray]]) -> Candidates:
    """The candidates with the objects of each frame: score and embedding."""
    flat = [found for frame in frames for found in frame]
    rows = np.repeat(np.arange(len(frames)), [len(frame) for frame in frames])
    embeddings = np.array([embedding for _, embedding in flat], np.float32).reshape(-1, 3)
    return replace(candidates, objects=Objects(rows, np.array([score for score, _ in flat], np.float64), embeddings))


def covered(candidates: Candidates, k: int, held: Taken = NOTHING, reach: float = 0.5) -> list[int]:
    return list(map(int, cover(np.arange(len(candidates)), candidates, held, reach, k)))


def test_an_object_that_was_shown_counts_no_more() -> None:
    found = shown(pool([0.0] * 3), [(1.0, EAST), (0.5, NORTH)], [(1.0, EAST), (0.3, UP)], [(0.4, UP)])
    assert covered(found, 3) == [0, 2, 1]


def test_half_way_to_the_reach_half_of_it_counts() -> None:
    # a cosine of 0.75 is a distance of 0.25, half of the reach
    aside = np.array([0.75, np.sqrt(1 - 0.75**2), 0.0], np.float32)
    found = shown(pool([0.0] * 3), [(1.0, EAST)], [(0.9, aside)], [(0.44, UP)])
    assert covered(found, 3) == [0, 1, 2]
    found = shown(pool([0.0] * 3), [(1.0, EAST)], [(0.9, aside)], [(0.46, UP)])
    assert covered(found, 3) == [0, 2, 1]


def test_only_objects_of_the_same_drive_are_the_same() -> None:
    frames = [[(1.0, EAST)], [(0.9, EAST)], [(0.5, NORTH)]]
    assert covered(shown(pool([0.0] * 3), *frames), 2) == [0, 2]
    assert covered(shown(pool([0.0] * 3, drives=["a", "b", "a"]), *frames), 2) == [0, 1]


def test_what_is_taken_shows_its_objects_and_what_is_unknown_shows_none() -> None:
    found = shown(pool([0.0] * 3), [(1.0, EAST)], [(0.9, NORTH)], [(0.8, NOWHERE)])
    held = replace(taken(["d"], [0.0]), objects=Objects(np.array([0]), np.array([1.0]), EAST[None]))
    assert covered(found, 3, held) == [1, 2, 0]
    assert covered(shown(pool([0.1, 0.2]), [], [(0.15, NOWHERE)]), 2) == [1, 0]
    assert totals(shown(pool([0.1, 0.2]), [], [(0.5, UP), (0.25, UP)])).tolist() == [0.1, 0.75]


@given(pools(8), st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_each_pick_tells_the_most_that_none_before_it_tells(found: Candidates, seed: int, k: int) -> None:
    found = with_objects(replace(found, scores=np.zeros(len(found))), np.random.default_rng(seed))
    rows = found.objects.embeddings / np.maximum(np.linalg.norm(found.objects.embeddings, axis=1, keepdims=True), 1e-9)

    def told(frames: tuple[int, ...]) -> float:
        total, novelty = 0.0, np.ones(len(rows))
        for frame in frames:
            mine = found.objects.frames == frame
            total += float((found.objects.scores * novelty)[mine].sum())
            near = found.drives[found.objects.frames] == found.drives[frame]
            for row in rows[mine & rows.any(axis=1)]:
                distance = np.where(near & rows.any(axis=1), (1 - rows @ row) / 0.5, 1.0)
                novelty = np.minimum(novelty, np.clip(distance, 0, 1))
        return total

    picks = covered(found, k)
    assert len(picks) == len(set(picks)) == min(k, len(found))
    first = max((told((frame,)) for frame in range(len(found))), default=0.0)
    assert told(tuple(picks[:1])) == pytest.approx(first if k else 0.0, abs=1e-5)
    for start in range(1, len(picks)):
        gains = [told((*picks[:start], frame)) for frame in range(len(found)) if frame not in picks[:start]]
        assert told(tuple(picks[: start + 1])) == pytest.approx(max(gains), abs=1e-5)


@given(pools(8), st.integers(0, 2**32 - 1), st.integers(0, 4))
def test_objects_that_are_read_when_they_are_compared_make_the_same_picks(found: Candidates, seed: int, k: int) -> None:
    found = with_objects(found, np.random.default_rng(seed))
    asked: list[int] = []

    def read_objects(ids: NDArray[np.str_]) -> Objects:
        asked.append(len(ids))
        return found.objects.take(np.array([found.ids.tolist().index(frame_id) for frame_id in ids.tolist()], np.intp))

    without = replace(found.objects, embeddings=np.empty((len(found.objects), 0), np.float32))
    apart = replace(found, objects=without, read_objects=read_objects)
    shortlist = np.arange(len(found))[::2]
    assert cover(shortlist, apart, NOTHING, 0.5, k).tolist() == cover(shortlist, found, NOTHING, 0.5, k).tolist()
    assert asked == [len(shortlist)]
