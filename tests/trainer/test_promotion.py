from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from quandary.errors import DeadlineExceeded, WrongState
from quandary_server.registry.directory import Registry
from quandary_server.registry.manifest import Manifest, NetRecord
from quandary_server.registry.roster import LOST_AFTER, Heartbeat
from quandary_server.trainer.promotion import promote, roll_back, wait_for_replicas

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NO_TIME, SOME_TIME = timedelta(), timedelta(seconds=20)


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


def test_replicas_that_do_not_follow_are_named_with_their_problem(registry: Registry) -> None:
    beat(registry, "good", "new")
    beat(registry, "slow", "old")
    beat(registry, "broken", "old", problem="member-1.onnx fails its digest")
    with pytest.raises(DeadlineExceeded) as caught:
        wait_for_replicas(registry, "new", NO_TIME, lambda: NOW)
    assert "2 of 3 replicas" in str(caught.value)
    assert "broken (member-1.onnx fails its digest); slow (old)" in str(caught.value)


def test_rolling_back_waits_too_and_needs_something_to_go_back_to(registry: Registry) -> None:
    with pytest.raises(WrongState, match="nothing to roll back"):
        roll_back(registry, None, mover="me", timeout=NO_TIME, clock=lambda: NOW)
    first, second = (registry.register({"member-0.onnx": bytes([i])}, describe).generation for i in range(2))
    registry.promote(second, registry.promote(first, None, NOW, "me"), NOW, "me")
    beat(registry, "only", first)
    pointer, answering = roll_back(registry, None, mover="me", timeout=SOME_TIME, clock=lambda: NOW)
    assert (pointer.generation, answering) == (first, ["only"])
