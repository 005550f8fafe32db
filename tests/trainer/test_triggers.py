"""What starts a run by itself, and that it does so once."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from support.records import labelled_record, log_record
from support.waiting import wait_for

from quandary import Calibration
from quandary_server.registry.directory import Artefacts, Registry
from quandary_server.registry.manifest import Manifest
from quandary_server.settings import Settings
from quandary_server.settings.trainer import DriftSettings, TrainerSettings
from quandary_server.silence import Silence
from quandary_server.storage.label_values import LabelCounts
from quandary_server.storage.run_values import Run, RunState, RunTrigger
from quandary_server.storage.store import Store
from quandary_server.storage.task_values import TaskEntry
from quandary_server.trainer.scheduler import Scheduler
from quandary_server.trainer.triggers import DRIFT_OF, DriftWatch, due_by_interval, due_by_labels

NOW = datetime(2026, 1, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)


def new(crops: int) -> LabelCounts:
    return LabelCounts(frames=1, crops=crops, control_frames=0, control_crops=0, sequence=9)


def test_labels_start_a_run_from_their_number_on_unless_that_is_none() -> None:
    cause = due_by_labels(TrainerSettings(new_crops=10), new(10))
    assert cause is not None
    assert (cause.trigger, cause.why) == (RunTrigger.LABELS, "10 newly labelled crops, 10 start a run")
    assert due_by_labels(TrainerSettings(new_crops=10), new(9)) is None
    assert due_by_labels(TrainerSettings(new_crops=0), new(99)) is None


def test_an_interval_counts_from_the_end_of_the_last_run_and_needs_new_labels(store: Store) -> None:
    run = store.runs.create(trigger=RunTrigger.CALL, now=NOW - 3 * HOUR)
    last = store.runs.finish(run.id, RunState.FAILED, now=NOW - HOUR)
    hourly = TrainerSettings(interval=HOUR)
    cause = due_by_interval(hourly, new(1), last, NOW)
    assert cause is not None
    assert (cause.trigger, cause.why) == (RunTrigger.INTERVAL, "1:00:00 since run-000001, and 1 newly labelled crops")
    assert due_by_interval(hourly, new(0), last, NOW) is None
    assert due_by_interval(hourly, new(1), last, NOW - timedelta(seconds=1)) is None
    assert due_by_interval(hourly, new(1), None, NOW) is None
    assert due_by_interval(TrainerSettings(), new(1), last, NOW) is None


def test_a_clock_that_was_set_back_does_not_hold_up_the_interval(store: Store) -> None:
    hourly, run = TrainerSettings(interval=HOUR), store.runs.create(trigger=RunTrigger.CALL, now=NOW)
    last = store.runs.finish(run.id, RunState.SUCCEEDED, now=NOW)
    # within an interval another machine's clock may merely be a little ahead
    assert due_by_interval(hourly, new(1), last, NOW - HOUR / 2) is None
    cause = due_by_interval(hourly, new(1), last, NOW - 400 * 24 * HOUR)
    assert cause is not None
    assert cause.why == "the clock was set back since run-000001 ended, and 1 newly labelled crops"


def test_a_heartbeat_of_the_future_counts_once_it_stands_still(store: Store) -> None:
    now_s, lost_after = [0.0], timedelta(seconds=10)
    silence = Silence(lost_after, lambda: now_s[0])
    run = store.runs.create(trigger=RunTrigger.CALL, holder="dead", now=NOW + 24 * HOUR)

    def taken() -> Run | None:
        how = {"older_than": lost_after, "resumptions": 3, "stopped": silence.among({run.id: run.heartbeat}).get(run.id)}
        return store.runs.take_over(holder="next", now=NOW, **how)  # type: ignore[arg-type]

    assert taken() is None
    now_s[0] = 9.0
    run = store.runs.update(run.id, now=NOW + 24 * HOUR + lost_after)
    assert taken() is None
    now_s[0] = 19.0
    assert taken() is None
    now_s[0] = 19.1
    found = taken()
    assert found is not None
    assert (found.holder, found.heartbeat, found.resumptions) == ("next", NOW, 1)


class Fleet:
    """Frames that come in and are scored: the store and the registry that a watch looks at."""

    def __init__(self, store: Store, registry: Registry, generation: Artefacts, calibration: Calibration, folder: Any) -> None:
        self.store, self.registry, self._calibration, self._folder = store, registry, calibration, folder
        self._count, self._rng = 0, np.random.default_rng(0)

        def describe(number: int, name: str, files: dict[str, str]) -> Manifest:
            known = {"number": number, "generation": name, "files": files}
            return generation.manifest.model_copy(update=known)

        members = {f"member-{k}.onnx": member for k, member in enumerate(generation.members)}
        self.generation = registry.register(members, describe).generation
        self.pointer = registry.promote(self.generation, None, NOW, "test")

    def drive(self, drives: int, mean: float) -> None:
        """Let as many drives of ten frames come in, scored around a mean."""
        before = self._count
        entries = [self._entry(mean) for _ in range(10 * drives)]
        at = NOW + timedelta(seconds=self._count)
        self.store.intake.apply(entries, log="log", after=before, position=self._count, now=at)

    def _entry(self, mean: float) -> TaskEntry:
        number = self._count = self._count + 1
        drive_id = f"drive-{(number - 1) // 10}"
        record, _ = labelled_record(self._calibration, self._folder, f"f{number}", drive_id, self._rng)
        known = (number, "active", record.frame_id, drive_id, record.stamp, log_record(record).payload, 3)
        score = float(self._rng.normal(mean, 0.1))
        return TaskEntry(*known, shuffle=number, score=score, generation=self.generation, frame_score=b"")


@pytest.fixture
def fleet(store: Store, settings: Settings, generation: Artefacts, calibration: Calibration, tmp_path: Any) -> Fleet:
    return Fleet(store, Registry(settings.registry_directory), generation, calibration, tmp_path / "clouds")


DRIFT = DriftSettings(frames=60, min_drives=6, every=timedelta())


def test_scores_that_moved_start_a_run_once_and_only_with_new_labels(fleet: Fleet) -> None:
    watch = DriftWatch(fleet.store, fleet.registry, DRIFT)
    fleet.drive(6, mean=1.0)
    fleet.drive(5, mean=3.0)
    assert watch.due(new(5), NOW) is None
    assert watch.last is None
    fleet.drive(1, mean=3.0)
    assert watch.due(new(0), NOW) is None
    cause = watch.due(new(5), NOW)
    assert cause is not None
    assert cause.trigger is RunTrigger.DRIFT
    assert cause.settings == {DRIFT_OF: fleet.pointer.revision}

    run = fleet.store.runs.create(trigger=cause.trigger, settings=cause.settings, now=NOW)
    fleet.store.runs.finish(run.id, RunState.REFUSED, now=NOW)
    assert watch.due(new(5), NOW) is None
    # another trainer, or this one started again
    again = DriftWatch(fleet.store, fleet.registry, DRIFT)
    assert again.due(new(5), NOW) is None
    assert again.last is not None
    assert again.last.psi > 1
    fleet.registry.promote(fleet.generation, fleet.pointer, NOW, "test")
    assert again.due(new(5), NOW) is not None


def test_scores_that_stayed_start_none(fleet: Fleet) -> None:
    watch = DriftWatch(fleet.store, fleet.registry, DRIFT)
    for _ in range(3):
        fleet.drive(6, mean=1.0)
    assert watch.due(new(5), NOW) is None
    assert watch.last is not None
    assert watch.last.p_value > 0.01


def test_scores_are_looked_at_now_and_then_and_not_at_all_where_drift_starts_nothing(fleet: Fleet) -> None:
    fleet.drive(6, mean=1.0)
    fleet.drive(6, mean=3.0)
    watch = DriftWatch(fleet.store, fleet.registry, DRIFT.model_copy(update={"every": HOUR}))
    assert watch.due(new(5), NOW) is not None
    assert watch.due(new(5), NOW + HOUR / 2) is None
    assert watch.due(new(5), NOW + HOUR) is not None
    # the clock was set back by days
    assert watch.due(new(5), NOW - 99 * HOUR) is not None
    assert DriftWatch(fleet.store, fleet.registry, DRIFT.model_copy(update={"psi": 0.0})).due(new(5), NOW) is None


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("store", ["sqlite", "postgresql"], indirect=True)
def test_two_trainers_that_see_the_same_start_one_run(settings: Settings, store: Store, label: Any) -> None:
    settings = settings.model_copy(update={"trainer": settings.trainer.model_copy(update={"new_crops": 24})})
    ended: list[Run] = []
    both = [
        Scheduler(store, Registry(settings.registry_directory), settings, lambda: datetime.now(UTC), ended.append) for _ in "ab"
    ]
    label(8)
    together = Barrier(2)

    def look(scheduler: Scheduler) -> None:
        together.wait()
        scheduler.look()

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(look, both))
    wait_for(lambda: ended)
    for scheduler in both:
        scheduler.look()
    assert [(run.id, run.state) for run in store.runs.list().items] == [("run-000001", RunState.SUCCEEDED)]
    told = [line.text for line in store.run_log.lines("run-000001")]
    assert told[0] == "started: 24 newly labelled crops, 24 start a run"
