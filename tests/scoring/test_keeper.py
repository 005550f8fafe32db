"""Generations come and go while frames are scored."""

import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.scoring import ScoringService, register

from quandary import QuandaryError, Unavailable, result_score
from quandary.errors import CorruptArtefact
from quandary_server.files import write_atomically
from quandary_server.registry.directory import Artefacts, Registry
from quandary_server.registry.manifest import Manifest, member_name


class Loop:
    """Scores one frame over and over in a thread."""

    def __init__(self, service: Any, frame: Any) -> None:
        self._service, self._frame = service, frame
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.answers: Counter[str] = Counter()
        self.problems: list[str] = []
        self.answered = threading.Condition()

    def __enter__(self) -> "Loop":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(timeout=30)

    def wait_for(self, generation: str) -> None:
        with self.answered:
            assert self.answered.wait_for(lambda: self.answers[generation] > 0, timeout=30)

    def _run(self) -> None:
        with self._service.client() as client:
            while not self._over.is_set():
                try:
                    response = client.score_frames([self._frame])
                    result_score(response.results[0])
                except QuandaryError as error:
                    self.problems.append(str(error))
                    continue
                with self.answered:
                    self.answers[response.generation] += 1
                    self.answered.notify_all()


def test_swaps_and_rollbacks_fail_no_answer(service: Any, make_frame: Any) -> None:
    first = service.keeper.generation().id
    with Loop(service, make_frame("a")) as loop:
        loop.wait_for(first)
        generations = [service.register(float(i)) for i in range(2, 6)]
        for generation in generations:
            service.promote(generation)
            loop.wait_for(generation)
        before = loop.answers[generations[-2]]
        back = service.registry.roll_back(service.registry.pointer(), datetime.now(UTC), "test")
        service.wait_for(back.generation)
        with loop.answered:
            assert loop.answered.wait_for(lambda: loop.answers[back.generation] > before, timeout=30)
    assert loop.problems == []
    assert set(loop.answers) == {first, *generations}
    assert back.generation == generations[-2]


def test_a_damaged_generation_is_refused_while_the_old_one_answers(service: Any, make_frame: Any) -> None:
    current = service.keeper.generation().id
    other = service.register(2.0)
    member = service.root / "models" / other / "member-1.onnx"
    whole = member.read_bytes()
    service.registry.promote(other, service.registry.pointer(), datetime.now(UTC), "test")
    service.wait_for(other)
    back = service.registry.roll_back(service.registry.pointer(), datetime.now(UTC), "test")
    service.wait_for(current)
    third = service.register(3.0)
    service.promote(third)

    # `other` is resident no longer; its disk breaks; somebody moves the pointer back by hand
    write_atomically(member, whole[:-1])
    moved = back.model_copy(update={"history": (current, other), "revision": 99})
    write_atomically(service.root / "CURRENT", moved.model_dump_json().encode())
    wait_for_problem(service, f"{other}/")
    assert service.keeper.generation().id == third
    with service.client() as client:
        assert client.score_frames([make_frame("a")]).generation == third
    with pytest.raises(CorruptArtefact, match=r"member-1\.onnx fails its digest"):
        service.registry.promote(other, service.registry.pointer(), datetime.now(UTC), "test")


def test_a_torn_pointer_leaves_the_old_generation_answering(service: Any, make_frame: Any) -> None:
    current = service.keeper.generation().id
    pointer = service.root / "CURRENT"
    whole = pointer.read_bytes()
    write_atomically(pointer, whole[: len(whole) // 2])
    wait_for_problem(service, "CURRENT is torn")
    with service.client() as client:
        assert client.score_frames([make_frame("a")]).generation == current
    write_atomically(pointer, whole)
    wait_for_problem(service, "")


def test_a_pointer_that_is_gone_leaves_the_old_generation_answering(service: Any, make_frame: Any) -> None:
    current = service.keeper.generation().id
    pointer = service.root / "CURRENT"
    pointer.rename(away := service.root / "away")
    wait_for_problem(service, "CURRENT is gone")
    with service.client() as client:
        assert client.score_frames([make_frame("a")]).generation == current
    away.rename(pointer)
    wait_for_problem(service, "")
    service.promote(service.register(2.0))


def test_gauges_are_told_anew_with_each_heartbeat(service: Any) -> None:
    for _ in range(2):
        service.beating.clear()
        assert service.beating.wait(timeout=30)


def test_a_model_that_onnx_runtime_cannot_load_is_refused_and_told(service: Any, make_frame: Any) -> None:
    current = service.keeper.generation().id
    whole = service.registry.load(current)
    members = {member_name(k): member for k, member in enumerate(whole.members[:-1])}
    members[member_name(len(members))] = b"no model, but its digest is right"

    def describe(number: int, name: str, files: dict[str, str]) -> Manifest:
        return Manifest.model_validate({**whole.manifest.model_dump(), "number": number, "generation": name, "files": files})

    broken = service.registry.register(members, describe).generation
    service.registry.promote(broken, service.registry.pointer(), datetime.now(UTC), "test")
    wait_for_problem(service, "[ONNXRuntimeError]")
    with service.client() as client:
        assert client.score_frames([make_frame("a")]).generation == current
    service.promote(service.register(2.0))


def test_a_replica_that_starts_where_the_current_generation_is_damaged_answers_with_the_one_before(
    tmp_path: Path, generation: Artefacts, make_frame: Any
) -> None:
    registry = Registry(tmp_path / "registry")
    first, second = (register(registry, generation, temperature) for temperature in (1.0, 2.0))
    for name in (first, second):
        registry.promote(name, registry.pointer(), datetime.now(UTC), "test")
    member = tmp_path / "registry" / "models" / second / "member-1.onnx"
    whole = member.read_bytes()
    write_atomically(member, whole[:-1])
    fresh = ScoringService(tmp_path, generation)
    fresh.start()
    try:
        (beat,) = registry.roster.alive(datetime.now(UTC))
        assert (beat.generation, beat.problem) == (first, f"{second}/member-1.onnx fails its digest")
        with fresh.client() as client:
            assert client.score_frames([make_frame("a")]).generation == first
        write_atomically(member, whole)
        fresh.wait_for(second)
        assert [held.id for held in fresh.keeper.resident] == [second, first]
        assert fresh.loaded == [1, None, 2]
    finally:
        fresh.stop()


def test_one_that_can_load_neither_is_unavailable_and_no_place_without_a_generation(
    tmp_path: Path, generation: Artefacts, make_frame: Any
) -> None:
    fresh = ScoringService(tmp_path, generation)
    only = fresh.register(1.0)
    fresh.registry.promote(only, None, datetime.now(UTC), "test")
    (fresh.root / "models" / only / "member-0.onnx").unlink()
    fresh.start()
    try:
        with fresh.client() as client, pytest.raises(Unavailable, match="the current generation cannot be loaded here"):
            client.score_frames([make_frame("a")], timeout=timedelta(seconds=1))
    finally:
        fresh.stop()


def wait_for_problem(service: Any, start: str) -> None:
    """Return when the replica's heartbeat tells a problem that begins so; none, for an empty start."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        problems = [beat.problem for beat in service.registry.roster.alive(datetime.now(UTC))]
        if problems and (problems[0].startswith(start) if start else not problems[0]):
            return
    raise AssertionError(f"the roster tells {problems}")


def test_a_replica_that_stops_leaves_the_roster(service: Any) -> None:
    assert [beat.replica for beat in service.registry.roster.alive(datetime.now(UTC))] == ["replica-1"]
    service.keeper.stop()
    assert service.registry.roster.alive(datetime.now(UTC)) == []


def test_loads_are_reported(service: Any) -> None:
    service.promote(service.register(2.0))
    assert service.loaded == [1, 2]
