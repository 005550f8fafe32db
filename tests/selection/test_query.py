from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from quandary_server.selection.query import Candidate, spaced_top_k

START = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def candidate(frame_id: str, score: float, drive: str = "d", at: float = 0.0) -> Candidate:
    return Candidate(frame_id, drive, START + at * SECOND, score)


def test_neighbours_of_one_drive_wait_behind_all_others() -> None:
    pool = [
        candidate("a", 9.0, "x", 0.0),
        candidate("b", 8.0, "x", 0.5),
        candidate("c", 7.0, "y", 0.5),
        candidate("d", 6.0, "x", 1.0),
    ]
    assert spaced_top_k(pool, 3, SECOND) == ["a", "c", "d"]
    assert spaced_top_k(pool, 4, SECOND) == ["a", "c", "d", "b"]


def test_neighbours_of_what_was_taken_before_wait_too() -> None:
    pool = [candidate("a", 9.0, "x", 0.2), candidate("b", 1.0, "x", 5.0)]
    assert spaced_top_k(pool, 1, SECOND, taken=[("x", START)]) == ["b"]


def test_without_a_gap_it_is_by_score_then_id() -> None:
    pool = [candidate("b", 1.0), candidate("c", 2.0), candidate("a", 1.0)]
    assert spaced_top_k(pool, 2, timedelta()) == ["c", "a"]
    assert spaced_top_k(pool, 9, timedelta()) == ["c", "a", "b"]


@given(
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from("xyz"), st.floats(0, 20)), max_size=30),
    st.integers(0, 30),
    st.floats(0, 5),
)
def test_picks_are_distinct_complete_and_spaced(drawn: list[tuple[float, str, float]], k: int, gap_s: float) -> None:
    pool = [candidate(f"f{i}", score, drive, at) for i, (score, drive, at) in enumerate(drawn)]
    picked = spaced_top_k(pool, k, gap_s * SECOND)
    assert len(picked) == len(set(picked)) == min(k, len(pool))
    frames = {c.frame_id: c for c in pool}
    assert set(picked) <= set(frames)

    def near(frame_id: str, others: list[str]) -> bool:
        mine = frames[frame_id]
        theirs = (frames[other] for other in others)
        return any(mine.drive_id == c.drive_id and abs(mine.stamp - c.stamp) < gap_s * SECOND for c in theirs)

    # first those apart from each other, best first; then those near them, best first, once no other is left
    apart = next((i for i, frame_id in enumerate(picked) if near(frame_id, picked[:i])), len(picked))
    first, then = picked[:apart], picked[apart:]
    if then:
        assert all(near(frame_id, first) for frame_id in set(frames) - set(first))
    for part in (first, then):
        assert part == sorted(part, key=lambda frame_id: (-frames[frame_id].score, frame_id))
    passed = [frame_id for frame_id in frames if frame_id not in picked and not near(frame_id, first)]
    assert all(frames[frame_id].score <= frames[first[-1]].score for frame_id in passed if first)
