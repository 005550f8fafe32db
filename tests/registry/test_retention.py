"""What is deleted and what is not, whoever comes between."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from support.registering import NOW, register, several, together

from quandary.errors import CorruptArtefact, NotFound, PointerMoved, WrongState
from quandary_server.registry.directory import CURRENT, Registry
from quandary_server.registry.place import RegistryPlace
from quandary_server.registry.pointer import Pointer, condemning
from quandary_server.registry.retention import Retention, plan, prune
from quandary_server.registry.roster import FORGOTTEN_AFTER, LOST_AFTER, Heartbeat

ONE, TWO = Retention(keep=1), Retention(keep=2)


def pointer_of(registry: Registry) -> Pointer:
    pointer = registry.pointer()
    assert pointer is not None
    return pointer


def test_the_newest_stay_and_what_is_current_or_before_it(registry: Registry) -> None:
    a, b, c, d, e = several(registry, 5)
    for _ in range(3):
        registry.roll_back(pointer_of(registry), NOW, "me")
    planned = plan(registry, ONE, NOW)
    assert (planned.generations, planned.leftovers) == ((d, c), ())
    assert planned.kept == {e: "one of the newest", b: "current", a: "the one before the current"}
    assert registry.generations() == [e, d, c, b, a]

    assert set(prune(registry, ONE, NOW).generations) == {c, d}
    assert registry.generations() == [e, b, a]
    assert set(registry.folders()) == {a, b, e}
    assert registry.roll_back(pointer_of(registry), NOW, "me").generation == a
    assert prune(registry, ONE, NOW).generations == (b,)


def test_what_is_deleted_leaves_the_history_and_is_not_found(registry: Registry) -> None:
    a, b, c = several(registry, 3)
    before = pointer_of(registry)
    prune(registry, ONE, NOW)
    pointer = pointer_of(registry)
    assert pointer.same_move(before)
    assert (pointer.history, pointer.condemned) == ((b, c), ())
    with pytest.raises(NotFound, match=a):
        registry.promote(a, pointer, NOW, "me")
    back = registry.roll_back(pointer, NOW, "me")
    with pytest.raises(WrongState, match="none to roll back to"):
        registry.roll_back(back, NOW, "me")


def test_none_comes_before_itself_when_those_between_are_deleted(registry: Registry) -> None:
    a, b, c = several(registry, 3)
    for name in (b, a, c, b):
        promoted(registry, name)
    assert pointer_of(registry).history == (a, b, c, b, a, c, b)
    assert prune(registry, ONE, NOW).generations == (a,)
    assert pointer_of(registry).history == (b, c, b, c, b)
    assert pointer_of(registry).previous == c

    d = register(registry, {"member-0.onnx": b"d"})
    promoted(registry, d)
    promoted(registry, b)
    assert prune(registry, ONE, NOW).generations == (c,)
    assert pointer_of(registry).history == (b, d, b)


def test_what_is_pinned_stays_until_it_is_let_go(registry: Registry) -> None:
    a, b, *_ = several(registry, 4)
    registry.pin(a)
    assert plan(registry, ONE, NOW).kept[a] == "pinned"
    assert prune(registry, ONE, NOW).generations == (b,)
    registry.pin(a, False)
    assert prune(registry, ONE, NOW).generations == (a,)
    for pinned in (True, False):
        with pytest.raises(NotFound, match=a):
            registry.pin(a, pinned)


def test_what_a_replica_holds_stays_for_as_long_as_it_may_answer(registry: Registry) -> None:
    a, b, c, *_ = several(registry, 5)
    beat = Heartbeat(replica="r", generation=b, resident=(b, a), beaten=NOW - LOST_AFTER * 2)
    registry.roster.beat(beat)
    assert plan(registry, ONE, NOW).kept[a] == "held by r"
    assert prune(registry, ONE, NOW).generations == (c,)
    assert prune(registry, ONE, NOW + FORGOTTEN_AFTER).generations == (a, b)


def test_before_the_first_promotion_nothing_is_deleted(registry: Registry) -> None:
    names = [register(registry, {"member-0.onnx": bytes([i])}) for i in range(3)]
    assert prune(registry, ONE, NOW).generations == ()
    assert set(registry.generations()) == set(names)


def test_while_the_pointer_cannot_be_read_nothing_is_deleted(registry: Registry) -> None:
    names = several(registry, 3)
    registry.objects.write("CURRENT", b"{")
    with pytest.raises(CorruptArtefact, match="CURRENT is torn"):
        prune(registry, ONE, NOW)
    assert set(registry.generations()) == set(names)


def test_leftovers_are_deleted_after_their_time_and_torn_manifests_never(registry: Registry) -> None:
    a, *_ = several(registry, 3)
    registry.objects.write("models/g000009-00000000/member-0.onnx", b"its manifest never came")
    registry.objects.write(f"models/{a}/manifest.json", b"{")
    written = datetime.now(UTC)
    assert prune(registry, TWO, written).leftovers == ()
    assert "g000009-00000000" in registry.folders()
    assert prune(registry, TWO, written + TWO.leftovers_after + timedelta(minutes=1)).leftovers == ("g000009-00000000",)
    assert "g000009-00000000" not in registry.folders()
    assert a in registry.folders()
    assert register(registry).startswith("g000004-")
    assert [entry.name for entry in registry.objects.entries("numbers")] == ["000003", "000004"]


Between = Callable[[Registry, str], object]


def promoted(registry: Registry, name: str) -> None:
    registry.promote(name, registry.pointer(), NOW, "other")


def rolled_back(registry: Registry, name: str) -> None:
    registry.roll_back(pointer_of(registry), NOW, "other", to=name)


@pytest.mark.parametrize("between", [promoted, rolled_back, Registry.pin])
def test_what_comes_before_a_generation_is_condemned_saves_it(registry: Registry, between: Between) -> None:
    a, *_ = several(registry, 4)
    planned = plan(registry, ONE, NOW)
    assert a in planned.generations
    between(registry, a)
    pointer = registry.amend(lambda pointer: condemning(pointer, planned.generations))
    assert a not in pointer.condemned
    prune(registry, ONE, NOW)
    assert registry.load(a)


@pytest.mark.parametrize("between", [promoted, rolled_back, Registry.pin])
def test_what_comes_after_is_refused_and_told(registry: Registry, between: Between) -> None:
    a, *_ = several(registry, 4)
    before = registry.amend(lambda pointer: condemning(pointer, [a]))
    with pytest.raises((NotFound, WrongState), match=a):
        between(registry, a)
    assert pointer_of(registry) == before
    # who condemned it died: the next one deletes it
    assert a in prune(registry, Retention(keep=9), NOW).generations
    assert a not in registry.folders()


@pytest.mark.parametrize("to", ["", "named"])
def test_a_move_that_began_before_the_pointer_was_amended_sees_it(registry: Registry, to: str) -> None:
    a, b, c, _ = several(registry, 4)
    seen = pointer_of(registry)
    registry.amend(lambda pointer: condemning(pointer, [a]))
    with pytest.raises(NotFound, match=f"{a} is being deleted"):
        registry.roll_back(seen, NOW, "other", to=a)
    with pytest.raises(NotFound, match=f"{a} is being deleted"):
        registry.promote(a, seen, NOW, "other")
    # nobody has moved it: what goes elsewhere goes
    moved = registry.roll_back(seen, NOW, "me", to=b) if to else registry.promote(b, seen, NOW, "me")
    assert moved.generation == b
    assert moved.condemned == (a,)
    with pytest.raises(PointerMoved):
        registry.promote(c, seen, NOW, "late")


def test_half_a_deletion_is_no_generation(registry: Registry) -> None:
    a, *_ = several(registry, 4)
    registry.amend(lambda pointer: condemning(pointer, [a]))
    registry.objects.delete(f"models/{a}/manifest.json")
    assert a not in registry.generations()
    with pytest.raises(NotFound, match=f"generation {a} is not registered"):
        registry.load(a)
    prune(registry, Retention(keep=9), NOW)
    assert a not in registry.folders()
    assert pointer_of(registry).condemned == ()


def test_pruning_promoting_and_rolling_back_at_once_leave_a_pointer_to_what_is_there(place: RegistryPlace) -> None:
    registry = place.open()
    names = several(registry, 8)

    def prunes() -> None:
        for _ in range(4):
            prune(place.open(), ONE, NOW)

    def promotes() -> None:
        mine = place.open()
        for name in names:
            try:
                mine.promote(name, mine.pointer(), NOW, "other")
                mine.roll_back(pointer_of(mine), NOW, "other")
            except (NotFound, PointerMoved, WrongState, CorruptArtefact):
                continue

    together(prunes, prunes, promotes, promotes)
    pointer = pointer_of(registry)
    assert registry.load(pointer.generation, pointer.manifest_digest)
    if pointer.previous:
        assert registry.load(pointer.previous)
    assert names[-1] in registry.generations()


def test_no_two_writes_of_the_pointer_are_alike(registry: Registry) -> None:
    # versions are digests: what was pinned, condemned or forgotten between two equal pointers must not go unseen
    generation = register(registry)
    registry.promote(generation, None, NOW, "me")
    found = set()
    for pinned in (True, False, True, False):
        registry.pin(generation, pinned)
        found.add(registry.objects.read(CURRENT).version)
    assert len(found) == 4


def test_a_registration_that_has_just_begun_is_no_leftover(registry: Registry) -> None:
    registry.objects.swap("models/g000007-00000000/member-0.onnx", b"begun", None)
    registry.clear("g000007-00000000", datetime.now(UTC) - timedelta(days=1))
    assert registry.objects.read("models/g000007-00000000/member-0.onnx").data == b"begun"
