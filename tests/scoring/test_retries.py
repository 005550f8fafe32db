"""What could not be loaded is tried again, and not all the time."""

from datetime import UTC, datetime
from itertools import pairwise

from quandary_server.registry.pointer import Pointer, advanced
from quandary_server.scoring.retries import LONGEST_PAUSE_S, Retries

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def pointer(generation: str, before: Pointer | None = None) -> Pointer:
    return advanced(before, generation, "0" * 64, NOW, "me")


def test_pauses_double_up_to_the_longest_and_another_move_is_followed_at_once() -> None:
    time = [0.0]
    retries = Retries(0.25, lambda: time[0])
    bad = pointer("a")
    tried = []
    while time[0] < 60.0:
        if retries.due(bad):
            tried.append(time[0])
            retries.failed(bad)
        time[0] += 0.25
    pauses = [later - earlier for earlier, later in pairwise(tried)]
    assert pauses[:6] == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0]
    assert set(pauses[6:]) == {LONGEST_PAUSE_S}
    better = pointer("b", bad)
    assert not retries.due(bad)
    assert retries.due(better)
    retries.failed(better)
    assert not retries.due(better)
    retries.forget()
    assert retries.due(better)


def test_a_pointer_that_cannot_be_read_is_read_at_every_look() -> None:
    retries = Retries(0.25, lambda: 0.0)
    retries.failed(None)
    assert retries.due(None)
    assert retries.due(pointer("a"))
