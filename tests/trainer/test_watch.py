"""After a promotion: what falls is rolled back, said in audit, run and metrics; a restart goes on, a call ends it."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from support.generations import SMALL, Sick, untrained
from support.records import START
from support.scoring import register

from quandary.errors import Unavailable
from quandary.labels import CLASSES
from quandary.options import ScoringOptions
from quandary_server import metrics
from quandary_server.registry.directory import Artefacts
from quandary_server.registry.live import SECONDS, LiveCounts
from quandary_server.registry.pointer import Pointer
from quandary_server.registry.roster import LOST_AFTER, Heartbeat
from quandary_server.settings import Settings
from quandary_server.storage.audit import PointerAction
from quandary_server.storage.run_values import RunState, RunTrigger
from quandary_server.storage.store import Store
from quandary_server.trainer.dying import YOUNG
from quandary_server.trainer.live_quality import LiveQuality
from quandary_server.trainer.moves import Moves
from quandary_server.trainer.promotion import ITSELF, promote, roll_back
from quandary_server.trainer.watch import TOLD_WITHIN, Watch

A_SECOND = timedelta(seconds=1)


class Watched:
    """A trainer's watch over a registry with one replica, told from a test.

    now: the clock. live: what the replica has answered. follows: whether it answers with what is current, as soon as anybody
    asks for the time.
    """

    def __init__(self, settings: Settings, store: Store, generation: Artefacts) -> None:
        self.settings, self.store, self._generation = settings, store, generation
        self.registry = settings.open_registry()
        self.now, self.follows = START, True
        self.live: tuple[LiveCounts, ...] = ()
        self.scraped = CollectorRegistry()
        self.moves = Moves(store, self.scraped)
        self.watch = self.restarted()

    def restarted(self) -> Watch:
        """Return the watch of a trainer that has just begun."""
        options, side = ScoringOptions(mc_samples=3), self._generation.manifest.net.side
        quality = LiveQuality(self.store, self.registry, options, side, frames=400)
        return Watch(self.store, self.registry, self.settings.trainer.watch, quality, self.clock, self.moves.tell)

    def clock(self) -> datetime:
        if self.follows:
            self.beat(self.current())
        return self.now

    def register(self, temperature: float = 1.0, run: str = "") -> str:
        manifest = self._generation.manifest.model_copy(update={"run": run})
        return register(self.registry, Artefacts(manifest, self._generation.members), temperature)

    def promote(self, generation: str) -> None:
        pointer, told = self.registry.pointer(), self.moves.tell
        promote(self.registry, generation, pointer, mover="ada", timeout=A_SECOND, clock=self.clock, told=told)

    def look(self, *live: LiveCounts) -> str:
        """Look once the replica has told this; return the generation that is current then."""
        self.live = live
        self.beat(self.current())
        self.watch.look()
        return self.current()

    def beat(self, generation: str) -> None:
        self.registry.roster.beat(Heartbeat(replica="r", generation=generation, beaten=self.now, live=self.live))

    def current(self) -> str:
        pointer = self.registry.pointer()
        return pointer.generation if pointer else ""

    def pointer(self) -> Pointer:
        pointer = self.registry.pointer()
        assert pointer is not None
        return pointer

    def count(self, action: str, cause: str) -> float | None:
        return self.scraped.get_sample_value(metrics.TRAINER_POINTER_MOVES.name, {"action": action, "cause": cause})

    def watches(self) -> bool:
        return list(self.watch.watching()) == [(metrics.TRAINER_WATCHING, (), 1.0)]


@pytest.fixture
def watched(settings: Settings, store: Store, generation: Artefacts) -> Watched:
    return Watched(settings, store, generation)


def answered(generation: str, failures: int = 0, place: int = 5) -> LiveCounts:
    seconds = [0] * (len(SECONDS) + 1)
    seconds[place] = 1000
    return LiveCounts(generation=generation, answers=1000, failures=failures, seconds=tuple(seconds))


def swapped(watched: Watched, run: str = "") -> tuple[str, str]:
    """Promote two generations, one after the other, and look at what is fine."""
    first, second = watched.register(), watched.register(2.0, run)
    watched.promote(first)
    watched.look()
    assert not watched.watches(), "there is nothing to go back to from the first"
    watched.promote(second)
    assert watched.look(answered(first), answered(second)) == second
    assert watched.watches()
    return first, second


def test_failing_answers_roll_back_and_run_audit_and_metrics_say_so(watched: Watched) -> None:
    run = watched.store.runs.create(trigger=RunTrigger.CALL, now=START)
    watched.store.runs.finish(run.id, RunState.SUCCEEDED, now=START, metrics={"nll": 0.5})
    first, second = swapped(watched, run.id)

    assert watched.look(answered(first), answered(second, failures=300)) == first
    reason = "300 of 1000 answers failed, 0 of 1000 before"
    event = watched.store.audit.last_move()
    assert event is not None
    assert (event.action, event.subject) == (PointerAction.ROLL_BACK, ITSELF)
    assert event.details == {"generation": first, "before": second, "revision": "3", "cause": "errors", "reason": reason}
    ended = watched.store.runs.get(run.id)
    assert (ended.state, ended.error) == (RunState.SUCCEEDED, f"rolled back to {first}: {reason}")
    assert ended.metrics == {"nll": 0.5, "rolled_back": 1.0}
    assert (watched.count("promote", "call"), watched.count("roll_back", "errors")) == (2.0, 1.0)

    assert watched.look(answered(first, failures=900), answered(second)) == first, "a rollback is not watched"
    assert not watched.watches()


def test_latency_is_held_against_that_of_before_although_replicas_have_forgotten_it(watched: Watched) -> None:
    first, second = swapped(watched)
    assert watched.look(answered(second, place=30)) == first
    assert watched.count("roll_back", "latency") == 1.0


def test_the_watch_ends_with_its_time(watched: Watched) -> None:
    first, second = swapped(watched)
    watched.now = START + watched.settings.trainer.watch.duration
    assert watched.look(answered(first), answered(second, failures=900)) == second
    assert not watched.watches()


def test_a_restart_goes_on_watching(watched: Watched) -> None:
    first, second = swapped(watched)
    watched.now = START + watched.settings.trainer.watch.duration / 2
    watched.watch = watched.restarted()
    assert watched.look(answered(first), answered(second)) == second
    assert watched.watches()
    assert watched.look(answered(first), answered(second, failures=300)) == first


def test_a_call_ends_the_watch_and_another_promotion_begins_another(watched: Watched) -> None:
    first, second = swapped(watched)
    roll_back(watched.registry, None, mover="ada", timeout=A_SECOND, clock=watched.clock, told=watched.moves.tell)
    assert watched.look(answered(first), answered(second, failures=900)) == first
    assert not watched.watches()
    third = watched.register(3.0)
    watched.promote(third)
    assert watched.look(answered(first), answered(second, failures=900)) == third
    assert watched.watches()
    assert watched.look(answered(first), answered(third, failures=300)) == first


def test_the_watch_goes_on_where_what_is_current_is_promoted_again(watched: Watched) -> None:
    first, second = swapped(watched)
    watched.promote(second)
    watched.watch = watched.restarted()
    assert watched.look(answered(first), answered(second)) == second
    assert watched.watches()
    assert watched.count("promote", "call") == 2.0, "nothing has moved"
    assert watched.look(answered(first), answered(second, failures=900)) == first


def test_a_generation_without_a_sound_answer_is_judged_and_rolled_back(watched: Watched, label: Any) -> None:
    label(40, queue="control")
    first = watched.register()
    sick = register(watched.registry, untrained(SMALL, members=2, kind=Sick))
    for generation in (first, sick):
        watched.promote(generation)
    assert watched.look(answered(first), answered(sick)) == sick
    figures = {name: value for _, (generation, name), value in watched.watch.quality() if generation == sick}
    # it knows nothing of any crop that holds a point
    assert figures["nll"] == pytest.approx(np.log(len(CLASSES)), rel=0.02)
    assert watched.look(answered(first), answered(sick, failures=900)) == first
    assert watched.count("roll_back", "errors") == 1.0


def test_what_cannot_be_judged_does_not_hide_that_answers_fail(watched: Watched, label: Any) -> None:
    label(40, queue="control")
    first = watched.register()
    other = register(watched.registry, untrained(SMALL.model_copy(update={"side": 32}), members=2))
    for generation in (first, other):
        watched.promote(generation)
    assert watched.look(answered(first), answered(other)) == other
    assert {generation for _, (generation, _), _ in watched.watch.quality()} == {first}
    assert watched.look(answered(first), answered(other, failures=900)) == first


def test_a_move_that_nobody_told_of_is_told_and_watched(watched: Watched) -> None:
    first, second = swapped(watched)
    third = watched.register(3.0)
    moved = watched.registry.promote(third, watched.registry.pointer(), watched.now, "ada, whose trainer was killed")
    assert watched.look(answered(second), answered(third)) == third
    assert not watched.watches(), "whoever moved it may be about to tell"
    watched.now += TOLD_WITHIN
    assert watched.look(answered(second), answered(third)) == third
    assert watched.watches()
    event = watched.store.audit.last_move()
    assert event is not None
    assert (event.action, event.subject, event.time) == (PointerAction.PROMOTE, moved.mover, moved.moved)
    assert (event.details["before"], event.details["revision"], event.details["cause"]) == (second, "3", "found")
    assert watched.look(answered(second), answered(third, failures=300)) == second

    watched.registry.roll_back(moved_back := watched.pointer(), watched.now, "ada")
    watched.now += TOLD_WITHIN
    assert watched.look(answered(first)) == first
    event = watched.store.audit.last_move()
    assert event is not None
    assert (event.action, event.details["generation"], event.details["before"]) == (PointerAction.ROLL_BACK, first, second)
    assert watched.count("roll_back", "found") == 1.0
    assert not watched.watches()
    assert moved_back.generation == second


def test_where_the_registry_is_away_the_next_look_rolls_back(watched: Watched) -> None:
    first, second = swapped(watched)
    models = watched.settings.registry_directory / "models"
    (models / first).rename(models / "away")
    (models / first).symlink_to(models / first)
    for _ in range(2):
        with pytest.raises(Unavailable):
            watched.look(answered(first), answered(second, failures=300))
        assert watched.watches()
    (models / first).unlink()
    (models / "away").rename(models / first)
    assert watched.look(answered(first), answered(second, failures=300)) == first


def test_what_nobody_promoted_here_is_not_watched(watched: Watched) -> None:
    first, second = swapped(watched)
    watched.registry.promote(first, watched.registry.pointer(), START, "another program")
    assert watched.look(answered(second), answered(first, failures=900)) == first
    assert not watched.watches()


def test_a_generation_of_before_that_is_damaged_is_not_gone_back_to(watched: Watched) -> None:
    first, second = swapped(watched)
    (watched.settings.registry_directory / "models" / first / "member-0.onnx").write_bytes(b"torn")
    for _ in range(2):
        assert watched.look(answered(first), answered(second, failures=300)) == second
        assert not watched.watches()


def test_replicas_that_stay_behind_for_longer_than_the_promotion_had_roll_it_back(watched: Watched) -> None:
    first, second = swapped(watched)
    watched.follows = False
    watched.watch = watched.restarted()
    for seconds, expected in ((0, second), (9, second), (13, first)):
        watched.now = START + timedelta(seconds=seconds)
        watched.beat(watched.current())
        watched.registry.roster.beat(Heartbeat(replica="s", generation=first, beaten=watched.now))
        if expected == first:
            watched.follows = True
        watched.watch.look()
        assert watched.current() == expected
    assert watched.count("roll_back", "replicas") == 1.0


def test_a_generation_that_replicas_die_of_is_rolled_back_and_one_lost_machine_rolls_nothing_back(watched: Watched) -> None:
    first, second = swapped(watched)
    for place in "ab":
        watched.registry.roster.beat(Heartbeat(replica=f"on-the-lost-machine-{place}", generation=second, beaten=watched.now))
    watched.watch = watched.restarted()
    for number in range(3):
        assert watched.look() == second, "those of the machine, and too few of those that came"
        watched.now += A_SECOND
        watched.registry.roster.beat(Heartbeat(replica=f"fresh-{number}", generation=second, beaten=watched.now))
        assert watched.look() == second
        watched.now += LOST_AFTER + A_SECOND
    assert watched.look() == first
    event = watched.store.audit.last_move()
    assert event is not None
    assert event.details["cause"] == "replicas"
    assert event.details["reason"] == ("replicas die of it: fresh-0, fresh-1, fresh-2 came and fell silent within a minute")


def test_replicas_that_leave_or_lived_for_long_did_not_die_of_it(watched: Watched) -> None:
    first, second = swapped(watched)
    roster = watched.registry.roster
    fresh = [f"fresh-{number}" for number in range(5)]
    for replica in fresh:
        roster.beat(Heartbeat(replica=replica, generation=second, beaten=watched.now))
    assert watched.look() == second
    watched.now += YOUNG + A_SECOND
    for replica in fresh[2:]:
        roster.beat(Heartbeat(replica=replica, generation=second, beaten=watched.now))
    for replica in fresh[:2]:
        roster.leave(replica)
    watched.now += LOST_AFTER + A_SECOND
    assert watched.look() == second
    assert watched.watches()
    assert first != second


def test_new_control_labels_are_judged_for_both_and_worse_answers_roll_back(watched: Watched, label: Any) -> None:
    label(30, queue="control")
    first, second = watched.register(0.02), watched.register()
    for generation in (first, second):
        watched.promote(generation)
    watched.now = START + timedelta(minutes=1)
    assert watched.look() == second, "labels of before the promotion are not held against it"
    figures = {(generation, name): value for _, (generation, name), value in watched.watch.quality()}
    assert {generation for generation, _ in figures} == {first, second}
    assert figures[second, "crops"] == 90
    assert (second, "nll") not in figures, "too few to tell"

    label(40, queue="control", at=watched.now)
    assert watched.look() == first
    event = watched.store.audit.last_move()
    assert event is not None
    assert event.details["reason"].startswith("the NLL in nats on 120 new control crops is worse by [+")
    figures = {(generation, name): value for _, (generation, name), value in watched.watch.quality()}
    assert figures[second, "crops"] == 210
    assert figures[second, "nll"] > figures[first, "nll"]
    assert {"ause", "ece", "nll"} <= {name for generation, name in figures if generation == second}


def test_a_generation_that_cannot_be_read_is_not_judged_and_the_other_is(watched: Watched, label: Any) -> None:
    label(40, queue="control")
    first, second = watched.register(), watched.register(2.0)
    for generation in (first, second):
        watched.promote(generation)
    (watched.settings.registry_directory / "models" / first / "member-0.onnx").unlink()
    watched.look()
    assert {generation for _, (generation, _), _ in watched.watch.quality()} == {second}
