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
    Requeue,
    SetBand,
    Skip,
)
from quandary_server.leasing.machine import move
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


def frame(index: int) -> str:
    return f"f{index}"


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
            common = (frame(index), "drive", START, b"record", 1, shuffle, score, by)
            entries.append(TaskEntry(self.position + 1 + i, "active", *common))
            old = self.model.get(frame(index))
            if old is None:
                self.model[frame(index)] = ModelTask(Place(frame(index), shuffle, score), by, self.now, TaskStatus())
            elif old.status.state is TaskState.WAITING and not (score is None and old.place.score is not None):
                place = replace(old.place, score=score, shuffle=shuffle)
                self.model[frame(index)] = replace(old, place=place, generation=by)
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
    @rule(pick=st.integers(0), requeue=st.sampled_from(Requeue), subject=LABELLERS)
    def skip(self, pick: int, requeue: Requeue, subject: str) -> None:
        name, token = self.issued[pick % len(self.issued)]
        now = self.now
        lease = self.model[name].status.lease
        if requeue is Requeue.OTHERS and lease is not None and lease.token == token and now < lease.expires:
            self.kept_from.add((subject, name))
        self.happens(
            name,
            Skip(token, now, requeue),
            lambda: self.store.leases.skip("active", name, token, reason="other", requeue=requeue, subject=subject, now=now),
        )

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
            self.model[name] = replace(task, place=replace(task.place, band=band, folded=folded))

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
            if task.status.state is TaskState.WAITING:
                self.model[name] = replace(task, status=move(task.status, Import(self.now)))

    @rule(picks=PICKS, score=st.integers(0, 4), generation=st.sampled_from(["g1", "g2", "g3"]))
    def rescore(self, picks: list[int], score: int, generation: str) -> None:
        names = {task.place.frame_id for task in self.waiting()} & {frame(index) for index in picks}
        scores = [NewScore(frame(index), float(score), b"score") for index in picks]
        assert self.store.ranking.rescore("active", scores, generation=generation, now=self.now) == len(names)
        for name in names:
            task = self.model[name]
            place = replace(task.place, score=float(score), folded=False)
            self.model[name] = replace(task, place=place, generation=generation)

    @rule(picks=PICKS, copies=PICKS)
    def write_ranks(self, picks: list[int], copies: list[int]) -> None:
        waiting = self.waiting()
        ranks = {frame(index): rank for rank, index in enumerate(picks)}
        folded = {frame(index): frame(picks[0]) for index in copies if picks and index not in picks}
        ranked = self.store.ranking.write_ranks("active", list(ranks), folded=folded, now=self.now)
        best = self.model.get(frame(picks[0])) if picks else None
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
            self.model[name] = replace(task, place=place)

    @invariant()
    def store_and_model_agree(self) -> None:
        self.settle()
        in_order = sorted(self.model.values(), key=lambda task: task.place.order())
        found = self.store.tasks.list("active", now=self.now).items
        assert [ModelTask(task.place, task.generation, task.enqueued, task.status) for task in found] == in_order

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
        behind = self.store.ranking.waiting_behind("active", "g2", limit=3, now=self.now)
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
