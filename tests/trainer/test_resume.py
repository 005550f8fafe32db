"""A run whose trainer stopped or died is gone on with in the stage where it broke, and comes to the same end."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from support.waiting import wait_for

from quandary.errors import Unavailable
from quandary_server.clock import now
from quandary_server.registry.directory import Registry
from quandary_server.registry.manifest import Manifest
from quandary_server.registry.pointer import Pointer
from quandary_server.settings import Settings
from quandary_server.storage.run_values import Run, RunStage, RunState, RunTrigger
from quandary_server.storage.store import Store
from quandary_server.trainer.plan import RunPlan
from quandary_server.trainer.run import TrainingRun
from quandary_server.trainer.scheduler import Scheduler

pytestmark = pytest.mark.usefixtures("ray_cluster")

PLAN = RunPlan(members=2, steps=40, seed=5, promote=True)
SOON = timedelta(minutes=2)


class Died(BaseException):
    """What a SIGKILL looks like from within: nobody catches it, and nothing is written any more."""


class MortalRegistry(Registry):
    """A registry whose process dies as it comes back from a call, once."""

    def __init__(self, settings: Settings, dies_after: str) -> None:
        super().__init__(settings.registry_directory)
        self._dies_after = dies_after

    def register(self, *arguments: Any) -> Manifest:
        done = super().register(*arguments)
        self._die("register")
        return done

    def promote(self, *arguments: Any) -> Pointer:
        done = super().promote(*arguments)
        self._die("promote")
        return done

    def _die(self, where: str) -> None:
        if where == self._dies_after:
            raise Died


@pytest.fixture
def settings(settings: Settings) -> Settings:
    update = {"lost_after": timedelta(milliseconds=500), "checkpoint_every": timedelta(milliseconds=1)}
    return settings.model_copy(update={"trainer": settings.trainer.model_copy(update=update)})


def die(settings: Settings, store: Store, where: str) -> Run:
    """Carry a run until its trainer dies after a call of the registry, and return it as it was left."""
    run = store.runs.create(trigger=RunTrigger.CALL, settings=PLAN.to_settings(), holder="dead", now=now())
    with pytest.raises(Died):
        TrainingRun(store, MortalRegistry(settings, where), settings, run, now).execute()
    return store.runs.get(run.id)


def next_trainer(settings: Settings, store: Store) -> Run:
    """Have another trainer look, a while later, and wait for the run that it goes on with."""
    ended: list[Run] = []
    scheduler = Scheduler(store, Registry(settings.registry_directory), settings, later, ended.append)
    scheduler.look()
    scheduler.join(SOON)
    return ended[-1]


def later() -> Any:
    return now() + timedelta(seconds=2)


def wait_until(time: datetime) -> None:
    wait_for(lambda: now() > time)


def trains(run: Run) -> bool:
    return run.stage is RunStage.TRAINING and run.stage_progress > 0


def told(store: Store, run: Run) -> str:
    return "\n".join(line.text for line in store.run_log.lines(run.id))


def test_a_trainer_that_stops_lets_go_and_the_next_one_trains_the_same_members(
    settings: Settings, store: Store, label: Any
) -> None:
    label(8)
    registry = Registry(settings.registry_directory)
    first = Scheduler(store, registry, settings, now, lambda _: None)
    # long enough to be met while it trains
    plan = replace(PLAN, steps=150)
    run = first.start(plan, RunTrigger.CALL, "test")
    wait_for(lambda: trains(store.runs.get(run.id)), timeout_s=120)
    first.stop()
    left = store.runs.get(run.id)
    assert (left.state, left.holder) == (RunState.RUNNING, "")

    label(1)  # what comes later is of the next run
    ended = next_trainer(settings, store)
    assert (ended.id, ended.state, ended.error, ended.resumptions) == (run.id, RunState.SUCCEEDED, "", 0)
    assert ended.training_crops == 24
    assert "the trainer stops" in told(store, run)
    assert f"resumed in stage {left.stage}" in told(store, run)
    assert list(settings.checkpoints.iterdir()) == []

    again = store.runs.create(trigger=RunTrigger.CALL, settings=plan.to_settings(), holder="whole", now=now())
    (settings.snapshots / f"{again.id}.parquet").write_bytes((settings.snapshots / f"{run.id}.parquet").read_bytes())
    whole = TrainingRun(store, registry, settings, again, now, before=RunStage.SNAPSHOT).execute()
    assert registry.load(whole.generation).members == registry.load(ended.generation).members


def test_what_was_registered_is_registered_no_second_time(settings: Settings, store: Store, label: Any) -> None:
    label(8)
    left = die(settings, store, "register")
    assert (left.stage, left.generation) == (RunStage.REGISTER, "")
    # as the next trainer leaves it, that dies before it comes so far again
    store.runs.update(left.id, now=now(), stage=RunStage.EXPORT)
    registry = Registry(settings.registry_directory)
    (only,) = registry.generations()
    ended = next_trainer(settings, store)
    assert (ended.state, ended.error, ended.generation, ended.resumptions) == (RunState.SUCCEEDED, "", only, 1)
    assert registry.generations() == [only]


def test_a_pointer_that_was_moved_is_not_moved_again(settings: Settings, store: Store, label: Any) -> None:
    label(8)
    left = die(settings, store, "promote")
    assert left.stage is RunStage.PROMOTE
    registry = Registry(settings.registry_directory)
    before = registry.pointer()
    ended = next_trainer(settings, store)
    assert (ended.state, ended.error) == (RunState.SUCCEEDED, "")
    assert registry.pointer() == before
    assert before is not None
    assert before.generation == ended.generation


def test_a_promotion_that_was_undone_meanwhile_is_not_done_again(settings: Settings, store: Store, label: Any) -> None:
    label(8)
    registry = Registry(settings.registry_directory)
    good = store.runs.create(trigger=RunTrigger.CALL, settings=PLAN.to_settings(), holder="one", now=now())
    first = TrainingRun(store, registry, settings, good, now).execute()
    die(settings, store, "promote")
    pointer = registry.pointer()
    assert pointer is not None
    registry.roll_back(pointer, now(), "operator")
    ended = next_trainer(settings, store)
    assert ended.state is RunState.FAILED
    assert ended.error == f"the pointer moved after the candidate was judged: it is {first.generation} since (operator)"


class AwayRegistry(Registry):
    """A registry that cannot be reached when something is to be registered, so many times."""

    def __init__(self, settings: Settings, times: int) -> None:
        super().__init__(settings.registry_directory)
        self._times = times

    def register(self, *arguments: Any) -> Manifest:
        if self._times:
            self._times -= 1
            raise Unavailable("the bucket is away")
        return super().register(*arguments)


def test_what_is_out_of_reach_is_tried_again_later_and_the_run_fails_in_the_end(
    settings: Settings, store: Store, label: Any
) -> None:
    label(8)
    settings = settings.model_copy(update={"trainer": settings.trainer.model_copy(update={"resumptions": 1})})
    ended: list[Run] = []
    for away, state in ((1, RunState.SUCCEEDED), (2, RunState.FAILED)):
        scheduler = Scheduler(store, AwayRegistry(settings, away), settings, now, ended.append)
        run = scheduler.start(replace(PLAN, steps=1), RunTrigger.CALL, "test")
        scheduler.join(SOON)
        left = store.runs.get(run.id)
        assert (left.state, left.stage, left.end_time) == (RunState.RUNNING, RunStage.REGISTER, None)
        assert "interrupted: the bucket is away" in told(store, run)
        wait_until(left.heartbeat + settings.trainer.lost_after)
        scheduler.look()
        scheduler.join(SOON)
        assert [(one.id, one.state, one.resumptions) for one in ended] == [(run.id, state, 1)]
        ended.clear()
    assert store.runs.get(run.id).error == "the bucket is away"
    assert list(settings.checkpoints.iterdir()) == []


def test_torn_labels_are_taken_anew(settings: Settings, store: Store, label: Any) -> None:
    label(8)
    left = die(settings, store, "register")
    snapshot = settings.snapshots / f"{left.id}.parquet"
    snapshot.write_bytes(snapshot.read_bytes()[:100])
    ended = next_trainer(settings, store)
    assert ended.state is RunState.SUCCEEDED
    assert "the labels are taken anew" in told(store, ended)


def test_a_run_whose_trainers_die_again_and_again_fails_with_the_reason(settings: Settings, store: Store, label: Any) -> None:
    label(8)
    run = die(settings, store, "register")
    for _ in range(settings.trainer.resumptions):
        taken = store.runs.take_over(holder="x", older_than=timedelta(), resumptions=3, now=now())
        assert taken is not None
    ended = next_trainer(settings, store)
    assert (ended.id, ended.state) == (run.id, RunState.FAILED)
    assert "its trainer died 4 times, the last time in stage register" in ended.error
    assert ended.error.split("; ")[-1] in told(store, run)


def test_a_run_of_another_program_fails_and_is_not_tried_for_ever(settings: Settings, store: Store) -> None:
    run = store.runs.create(trigger=RunTrigger.CALL, settings={"members": 3}, holder="older", now=now() - SOON)
    ended = next_trainer(settings, store)
    assert (ended.id, ended.state) == (run.id, RunState.FAILED)
    assert ended.error == "settings is without steps, must be the plan of a run of this program"


def test_a_cancelled_run_stops_and_leaves_nothing(settings: Settings, store: Store, label: Any) -> None:
    label(8)
    ended: list[Run] = []
    scheduler = Scheduler(store, Registry(settings.registry_directory), settings, now, ended.append)
    run = scheduler.start(RunPlan(members=2, steps=1_000_000, seed=1, promote=True), RunTrigger.CALL, "test")
    wait_for(lambda: trains(store.runs.get(run.id)), timeout_s=120)
    store.runs.cancel(run.id, by="ada", now=now())
    scheduler.join(SOON)
    assert [(one.id, one.state, one.error) for one in ended] == [
        (run.id, RunState.CANCELLED, "cancelled by ada in stage training")
    ]
    assert list(settings.checkpoints.iterdir()) == []
    assert Registry(settings.registry_directory).generations() == []
