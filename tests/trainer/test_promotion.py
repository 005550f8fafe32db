import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from quandary.errors import DeadlineExceeded, PointerMoved, WrongState
from quandary_server.registry.directory import Registry
from quandary_server.registry.manifest import Manifest, NetRecord
from quandary_server.registry.roster import LOST_AFTER, Heartbeat
from quandary_server.storage.audit import PointerAction
from quandary_server.trainer.moves import Cause, Move
from quandary_server.trainer.promotion import ITSELF, promote, roll_back

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NO_TIME, A_MOMENT, SOME_TIME = timedelta(), timedelta(seconds=1), timedelta(seconds=20)
AT_ONCE: dict[str, Any] = {"mover": "me", "timeout": NO_TIME, "clock": lambda: NOW, "back_within": NO_TIME}


def describe(number: int, generation: str, files: dict[str, str]) -> Manifest:
    net = NetRecord(side=48, embedding=16, hidden=16, dropout=0.5)
    return Manifest(
        generation=generation,
        number=number,
        created=NOW,
        classes=("Car", "Background"),
        net=net,
        box_scales=(1.0,) * 7,
        seed=0,
        files=files,
    )


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


def beat(registry: Registry, replica: str, generation: str, age: timedelta = NO_TIME, problem: str = "") -> None:
    registry.roster.beat(Heartbeat(replica=replica, generation=generation, beaten=NOW - age, problem=problem))


def two_generations(registry: Registry) -> tuple[str, str]:
    """Register two and promote the first."""
    first, second = (registry.register({"member-0.onnx": bytes([i])}, describe).generation for i in range(2))
    registry.promote(first, None, NOW, "me")
    return first, second


class Later:
    """Does something a moment after the wait began."""

    def __init__(self, does: Callable[[], object]) -> None:
        self._timer = threading.Timer(0.2, does)

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.join()


def test_promotion_returns_when_every_living_replica_answers_with_it(registry: Registry) -> None:
    generation = registry.register({"member-0.onnx": b"a"}, describe).generation
    looks = [0]

    def clock() -> datetime:
        """The replicas follow one by one, while the promotion looks."""
        looks[0] += 1
        beat(registry, "first", generation if looks[0] > 2 else "old")
        beat(registry, "second", generation if looks[0] > 4 else "old")
        return NOW

    beat(registry, "dead", "old", age=LOST_AFTER * 2)
    answering = promote(registry, generation, None, mover="me", timeout=SOME_TIME, clock=clock)
    assert answering == ["first", "second"]
    assert looks[0] > 4


def test_without_replicas_it_returns_at_once_and_says_so(registry: Registry) -> None:
    generation = registry.register({"member-0.onnx": b"a"}, describe).generation
    assert promote(registry, generation, None, mover="me", timeout=NO_TIME, clock=lambda: NOW) == []


def test_where_replicas_do_not_follow_it_rolls_back_and_names_them_with_their_problem(registry: Registry) -> None:
    old, new = two_generations(registry)
    beat(registry, "good", new)
    beat(registry, "slow", old)
    beat(registry, "broken", old, problem="member-1.onnx fails its digest")
    moves: list[Move] = []
    with pytest.raises(DeadlineExceeded) as caught:
        promote(registry, new, registry.pointer(), **AT_ONCE, told=moves.append)
    named = f"2 of 3 replicas do not answer with it: broken (member-1.onnx fails its digest); slow ({old})"
    still = f"1 of 3 replicas do not answer with it: good ({new})"
    assert str(caught.value) == f"rolled back to {old}: of {new}, {named}; since then {still}"
    assert [(m.action, m.generation, m.before, m.mover, m.cause, m.reason) for m in moves] == [
        (PointerAction.PROMOTE, new, old, "me", Cause.CALL, ""),
        (PointerAction.ROLL_BACK, old, new, ITSELF, Cause.REPLICAS, named),
    ]
    pointer = registry.pointer()
    assert pointer is not None
    assert (pointer.generation, pointer.history, pointer.revision) == (old, (old,), 3)


def test_replicas_that_turn_back_are_waited_for(registry: Registry) -> None:
    old, new = two_generations(registry)
    beat(registry, "good", new)
    beat(registry, "slow", old)
    with Later(lambda: beat(registry, "good", old)), pytest.raises(DeadlineExceeded, match=rf"slow \({old}\)$"):
        promote(registry, new, registry.pointer(), mover="me", timeout=NO_TIME, clock=lambda: NOW)


def test_the_first_generation_and_one_that_was_current_already_stay(registry: Registry) -> None:
    first = registry.register({"member-0.onnx": b"a"}, describe).generation
    beat(registry, "slow", "")
    for expected, why in ((None, "there is none to roll back to"), (first, "was so before")):
        pointer = registry.pointer()
        assert (pointer and pointer.generation) == expected
        with pytest.raises(DeadlineExceeded, match=f"^{first} is current, and {why}, but 1 of 1 replicas.*slow"):
            promote(registry, first, pointer, **AT_ONCE)
        assert registry.pointer().generation == first  # type: ignore[union-attr]


def test_a_generation_of_before_that_is_damaged_is_not_gone_back_to(registry: Registry, tmp_path: Path) -> None:
    old, new = two_generations(registry)
    beat(registry, "slow", old)
    (tmp_path / "models" / old / "member-0.onnx").write_bytes(b"torn")
    with pytest.raises(DeadlineExceeded, match=f"{new} is current, but 1 of 1.*not rolled back: {old}/member-0.onnx fails its"):
        promote(registry, new, registry.pointer(), **AT_ONCE)
    assert registry.pointer().generation == new  # type: ignore[union-attr]


def test_a_promotion_between_the_last_look_and_the_rollback_stays(registry: Registry) -> None:
    old, new = two_generations(registry)
    beat(registry, "slow", old)

    def again(move: Move) -> None:
        """Somebody makes the same generation current once more: no wait can see that, the pointer's revision does."""
        registry.promote(new, registry.pointer(), NOW, "ada")

    with pytest.raises(PointerMoved):
        promote(registry, new, registry.pointer(), **AT_ONCE, told=again)
    pointer = registry.pointer()
    assert pointer is not None
    assert (pointer.generation, pointer.mover) == (new, "ada")


def test_a_replica_that_falls_silent_while_it_loads_is_waited_for(registry: Registry) -> None:
    old, new = two_generations(registry)
    beat(registry, "loading", old)
    times = iter([NOW, NOW])

    def clock() -> datetime:
        """A look later the roster would have given the replica up."""
        return next(times, NOW + LOST_AFTER * 9)

    with Later(lambda: beat(registry, "loading", new)):
        assert promote(registry, new, registry.pointer(), mover="me", timeout=SOME_TIME, clock=clock) == ["loading"]
    beat(registry, "loading", old)
    times = iter([NOW, NOW])
    with pytest.raises(DeadlineExceeded, match=f"1 of 1 replicas.*loading \\({old}\\)"):
        promote(registry, new, registry.pointer(), **AT_ONCE | {"clock": clock})


def test_a_replica_that_leaves_is_not_waited_for(registry: Registry) -> None:
    old, new = two_generations(registry)
    beat(registry, "leaving", old)
    beat(registry, "good", new)
    with Later(lambda: registry.roster.leave("leaving")):
        assert promote(registry, new, registry.pointer(), mover="me", timeout=SOME_TIME, clock=lambda: NOW) == ["good"]


@pytest.mark.parametrize(("silence", "given_up"), [(LOST_AFTER * 2, False), (LOST_AFTER * 4, True)])
def test_a_replica_that_was_killed_is_given_up_where_a_fresh_one_came(
    registry: Registry, silence: timedelta, given_up: bool
) -> None:
    old, new = two_generations(registry)
    beat(registry, "killed", old)
    time = [NOW]

    def replace() -> None:
        time[0] = NOW + silence
        beat(registry, "fresh", new, age=-silence)

    with Later(replace):
        if given_up:
            assert promote(registry, new, registry.pointer(), mover="me", timeout=SOME_TIME, clock=lambda: time[0]) == ["fresh"]
        else:
            with pytest.raises(DeadlineExceeded, match=f"1 of 2 replicas.*killed \\({old}\\)"):
                promote(registry, new, registry.pointer(), **AT_ONCE | {"timeout": A_MOMENT, "clock": lambda: time[0]})


def test_another_promotion_ends_the_wait_at_once(registry: Registry) -> None:
    old, new = two_generations(registry)
    beat(registry, "slow", "none of them")
    back = lambda: registry.roll_back(registry.pointer(), NOW, "ada")  # type: ignore[arg-type]  # noqa: E731
    with Later(back), pytest.raises(PointerMoved, match=f"{new} was made current, but ada has made {old} current since"):
        promote(registry, new, registry.pointer(), mover="me", timeout=timedelta(minutes=5), clock=lambda: NOW)


def test_rolling_back_waits_too_and_needs_something_to_go_back_to(registry: Registry) -> None:
    with pytest.raises(WrongState, match="nothing to roll back"):
        roll_back(registry, None, mover="me", timeout=NO_TIME, clock=lambda: NOW)
    first, second = (registry.register({"member-0.onnx": bytes([i])}, describe).generation for i in range(2))
    registry.promote(second, registry.promote(first, None, NOW, "me"), NOW, "me")
    beat(registry, "only", first)
    pointer, answering = roll_back(registry, None, mover="me", timeout=SOME_TIME, clock=lambda: NOW)
    assert (pointer.generation, answering) == (first, ["only"])


def test_a_rollback_that_replicas_do_not_follow_stays(registry: Registry) -> None:
    first, second = two_generations(registry)
    registry.promote(second, registry.pointer(), NOW, "me")
    beat(registry, "slow", second)
    with pytest.raises(DeadlineExceeded, match=f"the pointer is back: {first} is current, but 1 of 1.*slow"):
        roll_back(registry, None, mover="me", timeout=NO_TIME, clock=lambda: NOW)
    assert registry.pointer().generation == first  # type: ignore[union-attr]


def test_a_registry_that_is_away_for_a_moment_is_asked_again_and_one_that_stays_away_is_told(
    registry: Registry, tmp_path: Path
) -> None:
    old, new = two_generations(registry)
    beat(registry, "replica", new)
    current, whole = tmp_path / "CURRENT", tmp_path / "whole"

    def break_it(_: Move) -> None:
        current.rename(whole)
        current.symlink_to(current)  # a loop: it cannot be read, and is there

    def mend_it() -> None:
        whole.replace(current)

    how: dict[str, Any] = {"mover": "me", "clock": lambda: NOW, "told": break_it}
    with Later(mend_it):
        assert promote(registry, new, registry.pointer(), timeout=SOME_TIME, **how) == ["replica"]
    registry.roll_back(registry.pointer(), NOW, "me")  # type: ignore[arg-type]
    beat(registry, "replica", old)
    away = f"it is not known who answers with it: {current} cannot be read"
    with pytest.raises(DeadlineExceeded, match=f"^{new} is current, but {away}.*; not rolled back: {current} cannot be"):
        promote(registry, new, registry.pointer(), timeout=NO_TIME, **how)
    mend_it()
    assert registry.pointer().generation == new  # type: ignore[union-attr]


def test_of_what_is_current_already_nothing_moves_unless_its_manifest_is_another(registry: Registry, tmp_path: Path) -> None:
    _, new = two_generations(registry)
    registry.promote(new, registry.pointer(), NOW, "me")
    beat(registry, "replica", new)
    moved = registry.pointer()
    assert promote(registry, new, moved, **AT_ONCE) == ["replica"]
    assert registry.pointer() == moved
    manifest = tmp_path / "models" / new / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b" ")
    assert promote(registry, new, moved, **AT_ONCE) == ["replica"]
    assert registry.pointer().revision == moved.revision + 1  # type: ignore[union-attr]
