"""What holds of a registry wherever it is kept: every test runs on a directory and on S3."""

import json
import logging
import multiprocessing
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta

import pytest
from support.promoting import promote_often
from support.registering import MEMBERS, NOW, describe, register, together

from quandary.errors import CorruptArtefact, InvalidArgument, NotFound, PointerMoved, WrongState
from quandary_server.registry.directory import Registry
from quandary_server.registry.live import LiveCounts
from quandary_server.registry.objects import Changed, NoObject
from quandary_server.registry.place import RegistryPlace
from quandary_server.registry.pointer import MAX_HISTORY, advanced
from quandary_server.registry.roster import FORGOTTEN_AFTER, LOST_AFTER, Heartbeat


def test_what_is_registered_is_loaded_back(registry: Registry) -> None:
    first, second = register(registry), register(registry, {"member-0.onnx": b"other"})
    assert registry.generations() == [second, first]
    artefacts = registry.load(first)
    assert artefacts.members == (b"zero", b"one")
    assert artefacts.manifest == registry.manifest(first)
    assert artefacts.manifest.number == 1
    assert registry.manifest(second).number == 2


def test_no_generation_is_current_before_the_first_promotion(registry: Registry) -> None:
    register(registry)
    assert registry.pointer() is None


def test_promotions_and_rollbacks_walk_along_the_history(registry: Registry) -> None:
    a, b, c = (register(registry, {"member-0.onnx": bytes([i])}) for i in range(3))
    pointer = None
    for generation in (a, b, c):
        pointer = registry.promote(generation, pointer, NOW, "me")
    assert pointer is not None
    assert (pointer.generation, pointer.previous, pointer.revision) == (c, b, 3)

    back = registry.roll_back(pointer, NOW, "me")
    assert (back.generation, back.previous) == (b, a)
    assert registry.roll_back(back, NOW, "me").generation == a
    found = registry.pointer()
    assert found is not None
    with pytest.raises(WrongState, match="none to roll back to"):
        registry.roll_back(found, NOW, "me")


def test_rollback_to_a_named_generation_of_the_history_only(registry: Registry) -> None:
    a, b, c = (register(registry, {"member-0.onnx": bytes([i])}) for i in range(3))
    pointer = registry.promote(b, registry.promote(a, None, NOW, "me"), NOW, "me")
    with pytest.raises(WrongState, match="never was current"):
        registry.roll_back(pointer, NOW, "me", to=c)
    assert registry.roll_back(pointer, NOW, "me", to=a).generation == a


def test_the_slower_of_two_promotions_is_told(registry: Registry) -> None:
    a, b = register(registry), register(registry, {"member-0.onnx": b"b"})
    seen = registry.pointer()
    registry.promote(a, seen, NOW, "fast")
    with pytest.raises(PointerMoved, match=f"current generation is {a}, expected was unset"):
        registry.promote(b, seen, NOW, "slow")
    found = registry.pointer()
    assert found is not None
    assert found.generation == a


def test_the_history_is_bounded() -> None:
    pointer = None
    for i in range(MAX_HISTORY + 5):
        pointer = advanced(pointer, f"g{i:06d}-00000000", "0" * 64, NOW, "me")
    assert pointer is not None
    assert len(pointer.history) == MAX_HISTORY
    assert pointer.revision == MAX_HISTORY + 5


@pytest.mark.parametrize("damage", [b"", b"zer", b"zerO", b"zero and more", b"one"])
def test_a_damaged_member_is_refused_by_name(registry: Registry, damage: bytes) -> None:
    generation = register(registry)
    registry.objects.write(f"models/{generation}/member-0.onnx", damage)
    with pytest.raises(CorruptArtefact, match=r"member-0\.onnx fails its digest"):
        registry.load(generation)
    with pytest.raises(CorruptArtefact):
        registry.promote(generation, None, NOW, "me")
    assert registry.pointer() is None


def test_a_missing_member_is_refused_by_name(registry: Registry) -> None:
    generation = register(registry)
    registry.objects.delete(f"models/{generation}/member-1.onnx")
    with pytest.raises(CorruptArtefact, match=r"member-1\.onnx is missing"):
        registry.load(generation)


def test_a_foreign_or_tampered_manifest_is_refused(registry: Registry) -> None:
    a, b = register(registry), register(registry, {"member-0.onnx": b"b"})
    manifest = f"models/{a}/manifest.json"
    pointer = registry.promote(a, None, NOW, "me")

    own = registry.objects.read(manifest).data
    registry.objects.write(manifest, registry.objects.read(f"models/{b}/manifest.json").data)
    with pytest.raises(CorruptArtefact, match=f"is of {b}"):
        registry.load(a)
    registry.objects.write(manifest, own[: len(own) // 2])
    with pytest.raises(CorruptArtefact, match="no valid manifest"):
        registry.load(a)
    registry.objects.write(manifest, own.replace(b'"temperature": 1.0', b'"temperature": 9.0'))
    with pytest.raises(CorruptArtefact, match=r"manifest\.json fails its digest"):
        registry.load(a)
    registry.objects.write(manifest, b" " + own)
    with pytest.raises(CorruptArtefact, match="promoted was"):
        registry.load(a, pointer.manifest_digest)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'"format": 2', "has the format 2, this program reads 1: upgrade it"),
        (b'"format": 1, "lens": 5', "has the field lens, which this program does not know: upgrade it"),
        (b'"format": [', "is no valid manifest: JSON"),
    ],
)
def test_a_manifest_of_another_version_is_told_apart_from_a_torn_one(registry: Registry, line: bytes, problem: str) -> None:
    a, b = register(registry), register(registry, {"member-0.onnx": b"b"})
    name = f"models/{b}/manifest.json"
    registry.objects.write(name, registry.objects.read(name).data.replace(b'"format": 1', line))
    with pytest.raises(CorruptArtefact, match=f"^{b}/manifest.json {re.escape(problem)}"):
        registry.promote(b, registry.promote(a, None, NOW, "me"), NOW, "me")
    assert registry.generations() == [a]


def test_a_manifest_of_before_there_were_seals_is_read(registry: Registry) -> None:
    a = register(registry)
    manifest = registry.manifest(a)
    registry.objects.write(f"models/{a}/manifest.json", manifest.model_dump_json(exclude={"seal"}).encode())
    assert registry.load(a).manifest == manifest.model_copy(update={"seal": ""})


def test_a_torn_pointer_is_told(registry: Registry) -> None:
    registry.promote(register(registry), None, NOW, "me")
    registry.objects.write("CURRENT", b'{"revision": 1,')
    with pytest.raises(CorruptArtefact, match="CURRENT is torn"):
        registry.pointer()


def test_a_promotion_replaces_a_pointer_that_cannot_be_read(registry: Registry) -> None:
    a, b = register(registry), register(registry, {"member-0.onnx": b"b"})
    pointer = registry.promote(a, None, NOW, "me")
    registry.objects.write("CURRENT", b'{"revision": 1,')
    with pytest.raises(CorruptArtefact, match="CURRENT"):
        registry.promote(b, pointer, NOW, "me")

    moved = registry.promote(b, None, NOW, "me")
    assert registry.pointer() == moved
    assert (moved.generation, moved.previous) == (b, None)
    assert moved.revision > 1_000_000_000
    assert registry.promote(a, moved, NOW, "me").revision == moved.revision + 1


def test_promoting_the_current_generation_again_leaves_the_way_back(registry: Registry) -> None:
    a, b = register(registry), register(registry, {"member-0.onnx": b"b"})
    pointer = None
    for generation in (a, b, b, b):
        pointer = registry.promote(generation, pointer, NOW, "me")
    assert pointer is not None
    assert (pointer.history, pointer.revision) == ((a, b), 4)
    assert registry.roll_back(pointer, NOW, "me").generation == a


def test_what_cannot_be_read_is_left_out_and_named_and_its_number_is_not_given_again(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = register(registry), register(registry, {"member-0.onnx": b"b"})
    registry.objects.write(f"models/{b}/manifest.json", b"{")
    registry.objects.write("models/g000007-00000000/member-0.onnx", b"its manifest never came")
    registry.objects.write("models/unknown/manifest.json", b"{}")
    with caplog.at_level(logging.WARNING):
        assert registry.generations() == [a]
    assert f"generation_unreadable generation={b} problem={b}/manifest.json is no valid manifest" in caplog.text
    assert "g000007" not in caplog.text
    assert register(registry, {"member-0.onnx": b"c"}).startswith("g000008-")


@pytest.mark.parametrize("name", ["g000009-00000000", "nonsense"])
def test_an_unknown_generation_is_not_found(registry: Registry, name: str) -> None:
    with pytest.raises(NotFound, match=name):
        registry.load(name)


@pytest.mark.parametrize("name", ["", "../up", ".."])
def test_a_name_that_is_none_is_refused(registry: Registry, name: str) -> None:
    with pytest.raises(InvalidArgument):
        registry.load(name)


def test_a_registration_that_fails_leaves_nothing(registry: Registry) -> None:
    class Broken(Exception):
        pass

    class Second(Mapping[str, bytes]):
        """Members that cannot be read a second time."""

        read = 0

        def __getitem__(self, name: str) -> bytes:
            self.read += name == "member-1.onnx"
            if self.read > 1:
                raise Broken
            return MEMBERS[name]

        def __iter__(self) -> Iterator[str]:
            return iter(MEMBERS)

        def __len__(self) -> int:
            return len(MEMBERS)

    with pytest.raises(Broken):
        registry.register(Second(), describe)
    assert registry.folders() == []
    assert register(registry).startswith("g000002-")


def test_registrations_at_once_have_numbers_of_their_own(place: RegistryPlace) -> None:
    registry = place.open()
    together(*[lambda i=i: register(registry, {"member-0.onnx": bytes([i])}) for i in range(4)])
    assert sorted(int(name[1:7]) for name in registry.generations()) == [1, 2, 3, 4]


def test_of_promotions_at_once_one_wins_and_the_others_are_told_by_whom(place: RegistryPlace) -> None:
    registry = place.open()
    names = [register(registry, {"member-0.onnx": bytes([i])}) for i in range(4)]
    seen = registry.promote(names[0], None, NOW, "first")
    told: dict[str, str] = {}

    def promote(name: str) -> None:
        try:
            place.open().promote(name, seen, NOW, f"run-{name}")
        except PointerMoved as error:
            told[name] = str(error)

    together(*[lambda name=name: promote(name) for name in names[1:]])
    found = registry.pointer()
    assert found is not None
    assert set(told) == {*names[1:]} - {found.generation}
    won = found.generation
    assert set(told.values()) == {f"the current generation is {won}, expected was {names[0]}: run-{won} has moved the pointer"}
    assert found.revision == 2


def test_every_move_of_racing_processes_is_counted_once(place: RegistryPlace) -> None:
    registry = place.open()
    generation = register(registry)
    context = multiprocessing.get_context("spawn")
    wins: multiprocessing.Queue[int] = context.Queue()
    racers = [context.Process(target=promote_often, args=(place, [generation] * 25, wins)) for _ in range(2)]
    for racer in racers:
        racer.start()
    won = sum(wins.get(timeout=60) for _ in racers)
    for racer in racers:
        racer.join(timeout=60)
    pointer = registry.pointer()
    assert pointer is not None
    assert pointer.revision == won


def test_an_object_is_replaced_only_where_it_is_what_was_read(registry: Registry) -> None:
    objects = registry.objects
    with pytest.raises(NoObject):
        objects.read("a")
    objects.swap("a", b"1", None)
    version = objects.read("a").version
    for stale in (None, version + "0"):
        with pytest.raises(Changed):
            objects.swap("a", b"2", stale)
    objects.swap("a", b"2", version)
    assert objects.read("a").data == b"2"
    with pytest.raises(Changed):
        objects.swap("a", b"3", version)
    for _ in range(2):
        objects.delete("a")
    with pytest.raises(Changed):
        objects.swap("a", b"3", version)


def test_the_roster_knows_who_is_alive(registry: Registry) -> None:
    roster = registry.roster
    assert roster.alive(NOW) == []
    roster.beat(Heartbeat(replica="old", generation="a", beaten=NOW - LOST_AFTER - timedelta(seconds=1)))
    roster.beat(Heartbeat(replica="new", generation="a", beaten=NOW - timedelta(seconds=1)))
    assert [(h.replica, h.generation) for h in roster.alive(NOW)] == [("new", "a")]
    roster.beat(Heartbeat(replica="new", generation="b", beaten=NOW))
    assert [(h.replica, h.generation) for h in roster.alive(NOW)] == [("new", "b")]
    assert [h.replica for h in roster.known(NOW)] == ["new", "old"]
    assert roster.alive(NOW + FORGOTTEN_AFTER + timedelta(seconds=1)) == []
    assert list(registry.objects.entries("roster")) == []


def test_a_replica_of_a_later_version_is_heard(registry: Registry) -> None:
    beat = Heartbeat(
        replica="new", generation="a", resident=("a", "b"), beaten=NOW, live=(LiveCounts(generation="a", answers=1),)
    )
    told = json.loads(beat.model_dump_json())
    told["gpu"], told["live"][0]["watts"] = "H200", 350
    registry.objects.write("roster/new.json", json.dumps(told).encode())
    assert registry.roster.alive(NOW) == [beat]


def test_a_replica_that_leaves_is_gone_and_a_torn_heartbeat_is_passed_over(registry: Registry) -> None:
    registry.roster.beat(Heartbeat(replica="a", generation="", beaten=NOW))
    registry.objects.write("roster/torn.json", b"{")
    assert [h.replica for h in registry.roster.alive(NOW)] == ["a"]
    for _ in range(2):
        registry.roster.leave("a")
    assert registry.roster.alive(NOW) == []
