"""Whatever is done to a queue in whatever order, the store agrees with a plain model of it."""

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from quandary.errors import StaleLease, WrongState
from quandary.labels import FrameLabels
from quandary_server.leasing.bands import turns
from quandary_server.leasing.events import (
    Acknowledge,
    Event,
    Expire,
    Grant,
    Import,
    Pin,
    Release,
    Renew,
    Reopen,
    Requeue,
    SetBand,
    Skip,
)
from quandary_server.leasing.heirs import Copy, heirs
from quandary_server.leasing.machine import ENDED_WITHOUT_LABELS, move
from quandary_server.leasing.order import Place, PriorityBand, epoch_of
from quandary_server.leasing.status import Lease, TaskState, TaskStatus
from quandary_server.storage import Store
from quandary_server.storage.options import StoreOptions
from quandary_server.storage.task_values import NewScore, Task, TaskEntry

START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
MAX_FAILED_LEASES = 2
PASSED_OVER_AT_MOST = 2

Places = Callable[[], AbstractContextManager[str]]

INDEXES = st.integers(0, 7)
SCORES = st.one_of(st.none(), st.integers(0, 4).map(float))
MINUTES = st.integers(1, 20)
LABELLERS = st.sampled_from(["ada", "bob"])
PICKS = st.lists(INDEXES, max_size=6, unique=True)


@dataclass(frozen=True)
class ModelTask:
    place: Place
    generation: str
    enqueued: datetime
    status: TaskStatus
    under: str = ""
    frame_score: bytes | None = None


def frame(index: int) -> str:
    return f"f{index}"


def stamp(name: str) -> datetime:
    return START + timedelta(seconds=int(name[1:]))


def score_of(name: str, score: float, generation: str) -> bytes:
    return f"{name}: {float(score)} by {generation}".encode()


def model_of(task: Task) -> ModelTask:
    return ModelTask(task.place, task.generation, task.enqueued, task.status, task.folded_under, task.frame_score)


class QueueMachine(RuleBasedStateMachine):
    places: ClassVar[Any]  # Places: of a subclass

    def __init__(self) -> None:
        super().__init__()
        self.opened = ExitStack()
        place = self.opened.enter_context(self.places())
        in_pieces = StoreOptions(rows_at_once=2)
        opened = Store.open(
            place, max_failed_leases=MAX_FAILED_LEASES, passed_over_at_most=PASSED_OVER_AT_MOST, options=in_pieces
        )
        self.store = self.opened.enter_context(opened)
        self.queries = 0
        self.now = START
        self.position = 0
        self.tokens = (f"token-{i}" for i in count())
        self.issued: list[tuple[str, str]] = []
        self.model: dict[str, ModelTask] = {}
        self.kept_from: set[tuple[str, str]] = set()
        self.passed_over: dict[PriorityBand, int] = {}

    def teardown(self) -> None:
        self.opened.close()

    def settle(self) -> None:
        for name, task in self.model.items():
            if task.status.expired(self.now):
                status = move(task.status, Expire(self.now), max_failed_leases=MAX_FAILED_LEASES)
                self.model[name] = replace(task, status=status)
                self.succeed(name)

    def succeed(self, name: str, *, same_scene: bool = False) -> None:
        """Let the near copies of a task that ended without labels take its place."""
        if self.model[name].status.state not in ENDED_WITHOUT_LABELS:
            return
        copies = [task for task in self.model.values() if task.under == name and task.status.state is TaskState.WAITING]
        led = heirs(stamp(name), [Copy(task.place, stamp(task.place.frame_id)) for task in copies])
        for i, (copy, leader) in enumerate(led.items()):
            best, task = self.model[name].place, self.model[copy]
            rank, epoch = (best.rank, best.epoch) if i == 0 and not same_scene else (None, 0)
            place = replace(task.place, rank=rank, epoch=epoch, folded=leader is not None)
            self.model[copy] = replace(task, place=place, under=leader or "")

    def waiting(self) -> list[ModelTask]:
        self.settle()
        found = (task for task in self.model.values() if task.status.state is TaskState.WAITING)
        return sorted(found, key=lambda task: task.place.order())

    @rule(minutes=MINUTES)
    def time_passes(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @rule(logged=st.lists(st.tuples(INDEXES, SCORES, st.integers(0, 2)), max_size=5), generation=st.sampled_from(["g1", "g2"]))
    def apply(self, logged: list[tuple[int, float | None, int]], generation: str) -> None:
        self.settle()
        entries = []
        for i, (index, score, shuffle) in enumerate(logged):
            by = generation if score is not None else ""
            given = None if score is None else score_of(frame(index), score, generation)
            common = (frame(index), "drive", stamp(frame(index)), b"record", 1, shuffle, score, by, given)
            entries.append(TaskEntry(self.position + 1 + i, "active", *common))
            old = self.model.get(frame(index))
            if old is None:
                place = Place(frame(index), shuffle, score)
                self.model[frame(index)] = ModelTask(place, by, self.now, TaskStatus(), frame_score=given)
            elif old.status.state is TaskState.WAITING and not (score is None and old.place.score is not None):
                place = replace(old.place, score=score, shuffle=shuffle)
                self.model[frame(index)] = replace(old, place=place, generation=by, frame_score=given)
        end = self.position + 1 + len(entries)
        self.store.intake.apply(entries, log="log", after=self.position, position=end, now=self.now)
        self.position = end

    def next_for(self, holder: str, max_tasks: int) -> list[str]:
        """Return what the holder is to get: pinned tasks, then the bands' in their turns."""
        waiting = [
            p for task in self.waiting() if (p := task.place).can_be_leased and (holder, p.frame_id) not in self.kept_from
        ]
        found = [place.frame_id for place in waiting if place.pinned][:max_tasks]
        of_band = {
            band: [place.frame_id for place in waiting if place.band is band and not place.pinned] for band in PriorityBand
        }
        counts = {band: len(places) for band, places in of_band.items()}
        got, self.passed_over = turns(counts, self.passed_over, max_tasks - len(found), PASSED_OVER_AT_MOST)
        return found + [of_band[turn.band].pop(0) for turn in got]

    @rule(max_tasks=st.integers(1, 4), minutes=MINUTES, holder=LABELLERS)
    def lease(self, max_tasks: int, minutes: int, holder: str) -> None:
        first = self.next_for(holder, max_tasks)
        duration = timedelta(minutes=minutes)
        leased = self.store.leases.lease(
            "active", holder=holder, max_tasks=max_tasks, duration=duration, now=self.now, token=lambda: next(self.tokens)
        )
        assert [task.frame_id for task in leased] == first
        for task in leased:
            assert task.status.lease is not None
            grant = Grant(Lease(task.status.lease.token, holder, self.now + duration), self.now)
            old = self.model[task.frame_id]
            self.model[task.frame_id] = replace(old, status=move(old.status, grant))
            self.issued.append((task.frame_id, task.status.lease.token))

    def happens(self, name: str, event: Event, call: Callable[[], Task]) -> None:
        """Let it happen to the model and to the store: both refuse for the same reason, or both move."""
        self.settle()
        task = self.model[name]
        try:
            status = move(task.status, event)
        except (StaleLease, WrongState) as error:
            with pytest.raises(type(error)):
                call()
        else:
            self.model[name] = replace(task, status=status)
            assert call().status == status

    @precondition(lambda self: self.issued)
    @rule(pick=st.integers(0), minutes=MINUTES)
    def renew(self, pick: int, minutes: int) -> None:
        name, token = self.issued[pick % len(self.issued)]
        length, now = timedelta(minutes=minutes), self.now
        self.happens(
            name,
            Renew(token, now + length, now),
            lambda: self.store.leases.renew("active", name, token, subject="ada", duration=length, now=now),
        )

    @precondition(lambda self: self.issued)
    @rule(pick=st.integers(0))
    def acknowledge(self, pick: int) -> None:
        name, token = self.issued[pick % len(self.issued)]
        now, labels = self.now, FrameLabels(name)
        self.happens(
            name,
            Acknowledge(token, now),
            lambda: self.store.leases.acknowledge("active", name, token, labels, subject="ada", now=now),
        )

    @precondition(lambda self: self.issued)
    @rule(
        pick=st.integers(0),
        requeue=st.sampled_from(Requeue),
        subject=LABELLERS,
        reason=st.sampled_from(["other", "duplicate"]),
        labellers=st.sampled_from([(), ("ada", "bob")]),
    )
    def skip(self, pick: int, requeue: Requeue, subject: str, reason: str, labellers: tuple[str, ...]) -> None:
        name, token = self.issued[pick % len(self.issued)]
        now = self.now
        lease = self.model[name].status.lease
        held = lease is not None and lease.token == token and now < lease.expires
        if requeue is Requeue.OTHERS and held:
            self.kept_from.add((subject, name))
        left = not labellers or not {*labellers} <= {by for by, of in self.kept_from if of == name}
        self.happens(
            name,
            Skip(token, now, requeue, left),
            lambda: self.store.leases.skip(
                "active", name, token, reason=reason, requeue=requeue, labellers=labellers, subject=subject, now=now
            ),
        )
        if held:
            self.succeed(name, same_scene=reason == "duplicate")

    @precondition(lambda self: self.model)
    @rule(index=INDEXES, pinned=st.booleans())
    def pin(self, index: int, pinned: bool) -> None:
        name = sorted(self.model)[index % len(self.model)]
        now = self.now
        self.happens(
            name,
            Pin(pinned, now),
            lambda: self.store.priorities.pin("active", name, pinned=pinned, subject="olga", now=now),
        )
        task = self.model[name]
        if task.status.state is TaskState.WAITING:
            self.model[name] = replace(task, place=replace(task.place, pinned=pinned))

    @precondition(lambda self: self.model)
    @rule(index=INDEXES, band=st.sampled_from(PriorityBand))
    def set_band(self, index: int, band: PriorityBand) -> None:
        name = sorted(self.model)[index % len(self.model)]
        now = self.now
        self.happens(
            name,
            SetBand(band, now),
            lambda: self.store.priorities.set_band("active", name, band, subject="olga", now=now),
        )
        task = self.model[name]
        if task.status.state is TaskState.WAITING:
            folded = task.place.folded and band == task.place.band
            moved = band != task.place.band
            place = replace(task.place, band=band, folded=folded)
            self.model[name] = replace(task, place=place, under=task.under if folded else "")
            for copy, other in self.model.items():
                if moved and other.under == name and other.status.state is TaskState.WAITING and other.place.band < band:
                    self.model[copy] = replace(other, place=replace(other.place, folded=False), under="")

    @precondition(lambda self: self.model)
    @rule(index=INDEXES)
    def requeue(self, index: int) -> None:
        name = sorted(self.model)[index % len(self.model)]
        now = self.now
        self.settle()
        again = self.model[name].status.state in ENDED_WITHOUT_LABELS
        self.happens(name, Reopen(now), lambda: self.store.priorities.requeue("active", name, subject="olga", now=now))
        if again:
            task = self.model[name]
            self.model[name] = replace(task, place=replace(task.place, rank=None, epoch=0, folded=False), under="")
            self.kept_from = {(by, of) for by, of in self.kept_from if of != name}

    @precondition(lambda self: self.issued)
    @rule(pick=st.integers(0))
    def release(self, pick: int) -> None:
        name, token = self.issued[pick % len(self.issued)]
        now = self.now
        self.happens(
            name,
            Release(token, now),
            lambda: self.store.leases.release("active", name, token, subject="ada", now=now),
        )

    @rule(picks=PICKS)
    def submit(self, picks: list[int]) -> None:
        self.settle()
        names = [frame(index) for index in picks if frame(index) in self.model]
        self.store.labels.submit([FrameLabels(name) for name in names], labeller="eve", now=self.now)
        for name in names:
            task = self.model[name]
            if task.status.state in {TaskState.WAITING, TaskState.LEASED, TaskState.DEAD_LETTER}:
                self.model[name] = replace(task, status=move(task.status, Import(self.now)))

    @rule(picks=PICKS, score=st.integers(0, 4), generation=st.sampled_from(["g1", "g2", "g3"]))
    def rescore(self, picks: list[int], score: int, generation: str) -> None:
        names = {task.place.frame_id for task in self.waiting()} & {frame(index) for index in picks}
        made = {frame(index): score_of(frame(index), score, generation) for index in picks}
        scores = [NewScore(name, float(score), text) for name, text in made.items()]
        assert self.store.ranking.rescore("active", scores, generation=generation, now=self.now) == len(names)
        for name in names:
            task = self.model[name]
            place = replace(task.place, score=float(score), folded=False)
            self.model[name] = replace(task, place=place, generation=generation, under="", frame_score=made[name])

    @rule(picks=PICKS, copies=PICKS)
    def write_ranks(self, picks: list[int], copies: list[int]) -> None:
        waiting = self.waiting()
        ranks = {frame(index): rank for rank, index in enumerate(picks)}
        folded = {frame(index): frame(picks[0]) for index in copies if picks and index not in picks}
        ranked = self.store.ranking.write_ranks("active", list(ranks), folded=folded, now=self.now)
        best = self.model.get(frame(picks[0])) if picks else None
        if best and best.status.state in ENDED_WITHOUT_LABELS:
            folded = {}
        of_waiting = {task.place.frame_id: task.place.band for task in waiting}
        for name in list(folded):
            if best and of_waiting.get(name, best.place.band) < best.place.band:
                ranks[name] = len(ranks)
                del folded[name]
        assert ranked == sum(task.place.frame_id in ranks for task in waiting)
        self.queries += 1
        for task in waiting:
            name = task.place.frame_id
            rank, epoch = ranks.get(name), epoch_of(self.queries) if name in ranks else 0
            place = replace(task.place, rank=rank, folded=name in folded, epoch=epoch)
            self.model[name] = replace(task, place=place, under=folded.get(name, ""))

    @invariant()
    def store_and_model_agree(self) -> None:
        self.settle()
        in_order = sorted(self.model.values(), key=lambda task: task.place.order())
        found = self.store.tasks.list("active", now=self.now).items
        assert list(map(model_of, found)) == in_order
        for task in found:  # no score is without the generation that gave it, nor another's
            score, by = task.place.score, task.generation
            assert (score is None) == (by == "") == (task.frame_score is None)
            assert score is None or task.frame_score == score_of(task.frame_id, score, by)

    @invariant()
    def nothing_waits_folded_under_what_ended_without_labels(self) -> None:
        for task in self.waiting():
            leader = self.model.get(task.under)
            assert leader is None or leader.status.state not in ENDED_WITHOUT_LABELS or task.place.pinned

    @invariant()
    def counts_agree(self) -> None:
        waiting = self.waiting()
        states: Counter[Any] = Counter(task.status.state for task in self.model.values())
        stats = self.store.tasks.stats("active", generation="g2", now=self.now)
        counted = {state: getattr(stats, state.value) for state in TaskState}
        counted[TaskState.WAITING] += stats.folded
        assert stats.folded == sum(not task.place.can_be_leased for task in waiting)
        assert counted == {state: states[state] for state in TaskState}
        assert stats.unscored == sum(task.place.score is None for task in waiting)
        assert stats.behind == sum(task.generation != "g2" for task in waiting)
        assert stats.oldest_waiting == min((task.enqueued for task in waiting), default=None)

    @invariant()
    def those_behind_and_the_candidates_agree(self) -> None:
        waiting = self.waiting()
        behind = self.store.ranking.waiting_behind("active", "g2", limit=3, now=self.now).tasks
        expected = [task.place.frame_id for task in waiting if task.generation != "g2"][:3]
        assert [task.frame_id for task in behind] == expected
        candidates = self.store.ranking.candidates("active", now=self.now)
        scored = [(task.place.frame_id, task.place.score) for task in waiting if task.place.score is not None]
        assert [(task.frame_id, task.score) for task in candidates] == scored


@pytest.mark.parametrize(("places", "examples"), [("sqlite", 40), ("postgresql", 8)], indirect=["places"])
def test_the_store_agrees_with_a_plain_model(places: Places, examples: int) -> None:
    steps = settings(max_examples=examples, stateful_step_count=40, deadline=None)
    machine: type[QueueMachine] = type("MachineHere", (QueueMachine,), {"places": staticmethod(places)})
    run_state_machine_as_test(machine, settings=steps)
