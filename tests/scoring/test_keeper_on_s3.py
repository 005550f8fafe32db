"""A replica whose registry is in S3: what goes wrong there costs no answer."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.s3 import S3Server
from support.scoring import ScoringService, register
from support.waiting import wait_for

from quandary import Unavailable
from quandary_server.clock import now
from quandary_server.registry.directory import Artefacts, Registry
from quandary_server.registry.place import RegistryPlace
from quandary_server.registry.pointer import Pointer

HASTY = timedelta(milliseconds=500)


@pytest.fixture
def service(s3_server: S3Server, tmp_path: Path, generation: Artefacts) -> Iterator[ScoringService]:
    """A replica without a generation."""
    kept = RegistryPlace(tmp_path, s3_server.place(tmp_path.name, timeout=HASTY)).open()
    running = ScoringService(tmp_path, generation, registry=kept)
    yield running
    s3_server.answers("well")
    running.stop()


def answered_by(service: ScoringService, frame: Any) -> str:
    with service.client() as client:
        return client.score_frames([frame]).generation


def problem(service: ScoringService) -> str:
    (beat,) = service.registry.roster.alive(now())
    return beat.problem


def test_swaps_ask_once_for_each_member_and_rollbacks_for_none(
    service: ScoringService, s3_server: S3Server, tmp_path: Path, make_frame: Any
) -> None:
    service.start()
    first, second = service.register(1.0), service.register(2.0)
    for name in (first, second):
        service.promote(name)
    assert answered_by(service, make_frame("a")) == second
    asked = s3_server.requests(tmp_path.name)
    back = service.registry.roll_back(pointer_of(service.registry), now(), "me")
    service.wait_for(back.generation)
    assert answered_by(service, make_frame("a")) == first
    after = s3_server.requests(tmp_path.name)
    members = [f"GET models/{name}/member-{k}.onnx" for name in (first, second) for k in range(3)]
    # one for the replica, one for whoever promotes and verifies, one more for who rolls back
    assert [asked[key] for key in members] == [2] * 6
    assert [after[key] for key in members] == [3] * 3 + [2] * 3


@pytest.mark.parametrize("how", ["away", "slow"])
def test_a_replica_goes_on_while_s3_is_gone_and_follows_when_it_is_back(
    service: ScoringService, s3_server: S3Server, make_frame: Any, how: str
) -> None:
    service.start()
    first, second = service.register(1.0), service.register(2.0)
    service.promote(first)
    s3_server.answers(how)
    for number in range(5):
        assert answered_by(service, make_frame(f"{number}")) == first
    wait_for(lambda: service.reached == [False])
    assert answered_by(service, make_frame("b")) == first
    s3_server.answers("well")
    wait_for(lambda: service.reached == [False, True])
    service.promote(second)
    assert answered_by(service, make_frame("c")) == second
    assert service.loaded == [1, 2]


def test_a_replica_that_starts_without_s3_says_so_and_loads_when_it_comes(
    service: ScoringService, s3_server: S3Server, make_frame: Any
) -> None:
    name = service.register(1.0)
    service.registry.promote(name, None, now(), "me")
    s3_server.answers("away")
    service.start()
    with service.client() as client, pytest.raises(Unavailable, match="no generation could be loaded yet: s3://"):
        client.score_frames([make_frame("a")], timeout=timedelta(seconds=2))
    s3_server.answers("well")
    wait_for(lambda: service.keeper.resident)
    assert answered_by(service, make_frame("a")) == name


def test_what_is_torn_tampered_or_foreign_is_refused_while_the_old_one_answers(
    service: ScoringService, s3_server: S3Server, tmp_path: Path, generation: Artefacts, make_frame: Any
) -> None:
    service.start()
    first, second = service.register(1.0), service.register(2.0)
    service.promote(first)
    objects, seen = service.registry.objects, pointer_of(service.registry)
    other = RegistryPlace(tmp_path, s3_server.place(f"{tmp_path.name}-other")).open()
    foreign = [register(other, generation, 9.0) for _ in range(4)][-1]
    foreign_pointer = other.promote(foreign, None, now(), "them")

    whole = objects.read(f"models/{second}/member-1.onnx").data
    manifest = objects.read(f"models/{second}/manifest.json").data
    moved = service.registry.promote(second, seen, now(), "me")
    service.wait_for(second)
    back = service.registry.roll_back(moved, now(), "me")
    service.promote(third := service.register(3.0))
    # `second` is resident no longer

    def found(name: str, data: bytes, told: str) -> None:
        objects.write(f"models/{second}/{name}", data)
        broken = back.model_copy(update={"history": (first, second), "manifest_digest": moved.manifest_digest, "revision": 90})
        objects.write("CURRENT", broken.model_dump_json().encode())
        wait_for(lambda: problem(service).startswith(f"{second}/{told}"))
        assert answered_by(service, make_frame("a")) == third

    not_its_own = objects.read(f"models/{second}/member-0.onnx").data
    others = other.objects.read(f"models/{foreign}/manifest.json").data
    found("member-1.onnx", whole[:-1], "member-1.onnx fails its digest")
    found("member-1.onnx", not_its_own, "member-1.onnx fails its digest")
    found("manifest.json", manifest.replace(b'"temperature": 2', b'"temperature": 3'), "manifest.json fails its digest")
    found("manifest.json", others, f"manifest.json is of {foreign}")
    objects.write("CURRENT", foreign_pointer.model_dump_json().encode()[:-20])
    wait_for(lambda: problem(service).startswith("CURRENT is torn"))
    objects.write("CURRENT", foreign_pointer.model_dump_json().encode())
    wait_for(lambda: problem(service) == f"generation {foreign} is not registered")
    assert answered_by(service, make_frame("b")) == third


def pointer_of(registry: Registry) -> Pointer:
    pointer = registry.pointer()
    assert pointer is not None
    return pointer
