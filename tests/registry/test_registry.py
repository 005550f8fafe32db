import logging
import multiprocessing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.promoting import promote_often

from quandary.errors import CorruptArtefact, InvalidArgument, NotFound, PointerMoved, WrongState
from quandary_server.registry.directory import Registry
from quandary_server.registry.manifest import Manifest, NetRecord
from quandary_server.registry.pointer import MAX_HISTORY, advanced
from quandary_server.registry.roster import FORGOTTEN_AFTER, LOST_AFTER, Heartbeat, Roster

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MEMBERS = {"member-0.onnx": b"zero", "member-1.onnx": b"one"}


def describe(number: int, generation: str, files: dict[str, str]) -> Manifest:
    return Manifest(
        generation=generation,
        number=number,
        created=NOW,
        classes=("Car", "Background"),
        net=NetRecord(side=48, embedding=80, hidden=64, dropout=0.5),
        box_scales=(1.0,) * 7,
        seed=1,
        files=files,
    )


def register(registry: Registry, members: dict[str, bytes] = MEMBERS) -> str:
    return registry.register(members, describe).generation


def test_what_is_registered_is_loaded_back(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    first, second = register(registry), register(registry, {"member-0.onnx": b"other"})
    assert registry.generations() == [second, first]
    artefacts = registry.load(first)
    assert artefacts.members == (b"zero", b"one")
    assert artefacts.manifest == registry.manifest(first)
    assert artefacts.manifest.number == 1
    assert registry.manifest(second).number == 2


def test_no_generation_is_current_before_the_first_promotion(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    register(registry)
    assert registry.pointer() is None


def test_promotions_and_rollbacks_walk_along_the_history(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
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


def test_rollback_to_a_named_generation_of_the_history_only(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    a, b, c = (register(registry, {"member-0.onnx": bytes([i])}) for i in range(3))
    pointer = registry.promote(b, registry.promote(a, None, NOW, "me"), NOW, "me")
    with pytest.raises(WrongState, match="never was current"):
        registry.roll_back(pointer, NOW, "me", to=c)
    assert registry.roll_back(pointer, NOW, "me", to=a).generation == a


def test_the_slower_of_two_promotions_is_told(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
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


@pytest.mark.parametrize("damage", [b"", b"zer", b"zerO", b"zero and more"])
def test_a_damaged_member_is_refused_by_name(tmp_path: Path, damage: bytes) -> None:
    registry = Registry(tmp_path)
    generation = register(registry)
    (tmp_path / "models" / generation / "member-0.onnx").write_bytes(damage)
    with pytest.raises(CorruptArtefact, match=r"member-0\.onnx fails its digest"):
        registry.load(generation)
    with pytest.raises(CorruptArtefact):
        registry.promote(generation, None, NOW, "me")
    assert registry.pointer() is None


def test_a_missing_member_is_refused_by_name(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    generation = register(registry)
    (tmp_path / "models" / generation / "member-1.onnx").unlink()
    with pytest.raises(CorruptArtefact, match=r"member-1\.onnx is missing"):
        registry.load(generation)


def test_a_foreign_or_tampered_manifest_is_refused(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    a, b = register(registry), register(registry, {"member-0.onnx": b"b"})
    models = tmp_path / "models"
    pointer = registry.promote(a, None, NOW, "me")

    own = (models / a / "manifest.json").read_bytes()
    (models / a / "manifest.json").write_bytes((models / b / "manifest.json").read_bytes())
    with pytest.raises(CorruptArtefact, match=f"is of {b}"):
        registry.load(a)
    (models / a / "manifest.json").write_bytes(own.replace(b'"temperature": 1.0', b'"temperature": 9.0'))
    with pytest.raises(CorruptArtefact, match="digest"):
        registry.load(a, pointer.manifest_digest)
    (models / a / "manifest.json").write_bytes(own[: len(own) // 2])
    with pytest.raises(CorruptArtefact, match="no valid manifest"):
        registry.load(a)


def test_a_torn_pointer_is_told(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.promote(register(registry), None, NOW, "me")
    (tmp_path / "CURRENT").write_text('{"revision": 1,')
    with pytest.raises(CorruptArtefact, match="CURRENT is torn"):
        registry.pointer()


@pytest.mark.parametrize("folder", [False, True])
def test_a_promotion_replaces_a_pointer_that_cannot_be_read(tmp_path: Path, folder: bool) -> None:
    registry = Registry(tmp_path)
    a, b = register(registry), register(registry, {"member-0.onnx": b"b"})
    pointer = registry.promote(a, None, NOW, "me")
    (tmp_path / "CURRENT").unlink()
    if folder:
        (tmp_path / "CURRENT").mkdir()
    else:
        (tmp_path / "CURRENT").write_text('{"revision": 1,')
    with pytest.raises(CorruptArtefact, match="CURRENT"):
        registry.pointer()
    with pytest.raises(CorruptArtefact, match="CURRENT"):
        registry.promote(b, pointer, NOW, "me")

    moved = registry.promote(b, None, NOW, "me")
    assert registry.pointer() == moved
    assert (moved.generation, moved.previous) == (b, None)
    assert moved.revision > 1_000_000_000
    assert registry.promote(a, moved, NOW, "me").revision == moved.revision + 1


def test_promoting_the_current_generation_again_leaves_the_way_back(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    a, b = register(registry), register(registry, {"member-0.onnx": b"b"})
    pointer = None
    for generation in (a, b, b, b):
        pointer = registry.promote(generation, pointer, NOW, "me")
    assert pointer is not None
    assert (pointer.history, pointer.revision) == ((a, b), 4)
    assert registry.roll_back(pointer, NOW, "me").generation == a


def test_what_cannot_be_read_is_left_out_and_named_and_its_number_is_not_given_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Registry(tmp_path)
    a, b = register(registry), register(registry, {"member-0.onnx": b"b"})
    (tmp_path / "models" / b / "manifest.json").write_text("{")
    (tmp_path / "models" / "g000007-00000000").mkdir()
    (tmp_path / "models" / "unknown").mkdir()
    (tmp_path / "models" / "unknown" / "manifest.json").write_text("{}")
    with caplog.at_level(logging.WARNING):
        assert registry.generations() == [a]
    assert f"generation_unreadable generation={b} problem={b}/manifest.json is no valid manifest" in caplog.text
    assert "generation=g000007-00000000" in caplog.text
    assert register(registry, {"member-0.onnx": b"c"}).startswith("g000008-")


@pytest.mark.parametrize("name", ["g000009-00000000", "nonsense"])
def test_an_unknown_generation_is_not_found(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFound, match=name):
        Registry(tmp_path).load(name)


@pytest.mark.parametrize("name", ["", "../up", ".."])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArgument):
        Registry(tmp_path).load(name)


def test_what_a_killed_registration_left_is_invisible_and_swept(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    left = tmp_path / "models" / ".staging-dead"
    left.mkdir()
    (left / "manifest.json").write_text("{}")
    assert registry.generations() == []
    assert register(registry).startswith("g000001-")
    assert not left.exists()


def test_every_move_of_racing_processes_is_counted_once(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    generation = register(registry)
    context = multiprocessing.get_context("spawn")
    wins: multiprocessing.Queue[int] = context.Queue()
    racers = [context.Process(target=promote_often, args=(tmp_path, [generation] * 25, wins)) for _ in range(3)]
    for racer in racers:
        racer.start()
    won = sum(wins.get(timeout=60) for _ in racers)
    for racer in racers:
        racer.join(timeout=60)
    pointer = registry.pointer()
    assert pointer is not None
    assert pointer.revision == won


def test_the_roster_knows_who_is_alive(tmp_path: Path) -> None:
    roster = Roster(tmp_path / "roster")
    assert roster.alive(NOW) == []
    roster.beat(Heartbeat(replica="old", generation="a", beaten=NOW - LOST_AFTER - timedelta(seconds=1)))
    roster.beat(Heartbeat(replica="new", generation="a", beaten=NOW - timedelta(seconds=1)))
    roster.beat(Heartbeat(replica="new", generation="b", beaten=NOW))
    assert [(h.replica, h.generation) for h in roster.alive(NOW)] == [("new", "b")]
    assert roster.alive(NOW + FORGOTTEN_AFTER + timedelta(seconds=1)) == []
    assert list((tmp_path / "roster").iterdir()) == []


def test_a_replica_that_leaves_is_gone_and_a_torn_heartbeat_is_passed_over(tmp_path: Path) -> None:
    roster = Roster(tmp_path)
    roster.beat(Heartbeat(replica="a", generation="", beaten=NOW))
    (tmp_path / "torn.json").write_text("{")
    assert [h.replica for h in roster.alive(NOW)] == ["a"]
    roster.leave("a")
    roster.leave("a")
    assert roster.alive(NOW) == []
