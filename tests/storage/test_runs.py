"""The training runs of a store."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Barrier
from typing import Any

import pytest

from quandary.errors import InvalidArgument, NotFound, WrongState
from quandary.labels import FrameLabels
from quandary_server.storage import Store
from quandary_server.storage.run_values import Run, RunStage, RunState, RunTaken, RunTrigger

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)


def start(store: Store, now: datetime = NOW) -> Run:
    return store.runs.create(trigger=RunTrigger.CALL, requester="ada", settings={"members": 3}, now=now)


def test_a_new_run_takes_the_next_number_and_is_running(store: Store) -> None:
    run = start(store)
    assert run == Run(
        id="run-000001",
        state=RunState.RUNNING,
        stage=RunStage.SNAPSHOT,
        stage_progress=0.0,
        trigger=RunTrigger.CALL,
        requester="ada",
        start_time=NOW,
        end_time=None,
        heartbeat=NOW,
        settings={"members": 3},
    )
    assert store.runs.get("run-000001").settings == {"members": 3}
    store.runs.finish(run.id, RunState.CANCELLED, now=NOW)
    assert start(store).id == "run-000002"


def test_there_is_one_run_at_a_time(store: Store) -> None:
    start(store)
    with pytest.raises(WrongState, match="run-000001 is running"):
        start(store)
    assert len(store.runs.list().items) == 1


def test_of_two_trainers_that_start_or_take_over_at_once_one_does(place: str) -> None:
    with Store.open(place) as one, Store.open(place) as two, ThreadPoolExecutor(2) as threads:
        both = Barrier(2)

        def at_once(store: Store, act: Callable[[Store], Run | None]) -> Run | None:
            both.wait()
            try:
                return act(store)
            except WrongState:
                return None

        def started(store: Store) -> Run:
            return store.runs.create(trigger=RunTrigger.LABELS, holder="first", after=newest, now=NOW)

        def taken(store: Store) -> Run | None:
            return take(store, f"of {id(store)}", LATER)

        newest = ""
        for number in range(1, 11):
            newest = f"run-{number - 1:06d}" if number > 1 else ""
            for act in (started, taken):
                found = [run for run in threads.map(partial(at_once, act=act), (one, two)) if run is not None]
                assert [run.id for run in found] == [f"run-{number:06d}"]
            store_holder = one.runs.get(found[0].id).holder
            assert store_holder == found[0].holder
            two.runs.finish(found[0].id, RunState.SUCCEEDED, holder=store_holder, now=LATER)
        assert len(one.runs.list().items) == 10


def test_what_a_trainer_writes_is_read_back_and_its_heart_beats(store: Store) -> None:
    run = start(store)
    gates = ({"gate": "nll_floor", "verdict": "passed", "candidate": 0.4, "reference": None},)
    written = store.runs.update(
        run.id,
        now=LATER,
        stage=RunStage.GATES,
        stage_progress=0.5,
        label_sequence=12,
        training_frames=3,
        training_crops=24,
        control_crops=8,
        gates=gates,
        metrics={"nll": 0.4},
    )
    assert store.runs.get(run.id) == written
    assert (written.stage, written.stage_progress, written.heartbeat) == (RunStage.GATES, 0.5, LATER)
    assert (written.label_sequence, written.training_frames, written.training_crops) == (12, 3, 24)
    assert (written.control_crops, written.gates, written.metrics) == (8, gates, {"nll": 0.4})
    assert store.runs.update(run.id, now=LATER + (LATER - NOW)).heartbeat == LATER + (LATER - NOW)


def test_a_finished_run_has_an_end_and_cannot_be_changed(store: Store) -> None:
    run = start(store)
    over = store.runs.finish(run.id, RunState.REFUSED, now=LATER, error="nll is worse", generation="g1")
    assert (over.state, over.stage, over.stage_progress, over.end_time) == (RunState.REFUSED, RunStage.DONE, 1.0, LATER)
    assert (over.error, over.generation) == ("nll is worse", "g1")
    with pytest.raises(WrongState, match="run-000001 is refused"):
        store.runs.update(run.id, now=LATER)
    with pytest.raises(WrongState):
        store.runs.finish(run.id, RunState.SUCCEEDED, now=LATER)
    with pytest.raises(InvalidArgument, match="state"):
        store.runs.finish(run.id, RunState.RUNNING, now=LATER)


SILENCE = timedelta(minutes=2)


def take(store: Store, holder: str, now: datetime, resumptions: int = 2) -> Run | None:
    return store.runs.take_over(holder=holder, older_than=SILENCE, resumptions=resumptions, now=now)


def test_a_run_without_a_heartbeat_is_taken_over_once_and_whoever_had_it_stops(store: Store) -> None:
    run = store.runs.create(trigger=RunTrigger.CALL, holder="one", now=NOW)
    store.runs.update(run.id, holder="one", now=NOW, stage=RunStage.TRAINING, stage_progress=0.25)
    assert take(store, "two", NOW + SILENCE) is None
    taken = take(store, "two", LATER)
    assert taken == store.runs.get(run.id)
    assert taken is not None
    assert (taken.state, taken.stage, taken.holder) == (RunState.RUNNING, RunStage.TRAINING, "two")
    assert (taken.heartbeat, taken.resumptions) == (LATER, 1)
    assert take(store, "three", LATER) is None
    for write in (store.runs.update, partial(store.runs.finish, state=RunState.SUCCEEDED), store.runs.release):
        with pytest.raises(RunTaken, match="carried on by another trainer"):
            write(run.id, holder="one", now=LATER)
    assert store.runs.update(run.id, holder="two", now=LATER, stage=RunStage.EXPORT).stage is RunStage.EXPORT


def test_a_run_whose_trainer_dies_again_and_again_fails_and_its_labels_are_seen(store: Store, fill: Any) -> None:
    fill(0.2)
    store.labels.submit([FrameLabels("f000")], labeller="ada", now=NOW)
    run = store.runs.create(trigger=RunTrigger.CALL, holder="h0", now=NOW)
    for k in (1, 2, 3):
        now = NOW + 2 * k * SILENCE
        taken = take(store, f"h{k}", now)
    assert taken is not None
    assert (taken.id, taken.state, taken.stage, taken.end_time) == (run.id, RunState.FAILED, RunStage.DONE, now)
    often = "its trainer died 3 times, the last time in stage snapshot; a run is resumed at most 2 times"
    assert taken.error == f"interrupted: {often}"
    assert store.runs.newest_label_seen() == 1
    assert start(store, LATER).id == "run-000002"


def test_a_run_that_is_let_go_of_is_taken_at_once_and_that_counts_as_no_death(store: Store) -> None:
    run = store.runs.create(trigger=RunTrigger.CALL, holder="one", now=NOW)
    store.runs.release(run.id, holder="one", now=NOW)
    taken = take(store, "two", NOW)
    assert taken is not None
    assert (taken.holder, taken.resumptions) == ("two", 0)


def test_a_run_is_cancelled_once_unless_it_promotes_or_is_over(store: Store) -> None:
    run = store.runs.create(trigger=RunTrigger.CALL, holder="one", now=NOW)
    store.runs.update(run.id, now=NOW, stage=RunStage.TRAINING)
    over = store.runs.cancel(run.id, by="ada", now=LATER)
    assert (over.state, over.stage, over.end_time) == (RunState.CANCELLED, RunStage.DONE, LATER)
    assert over.error == "cancelled by ada in stage training"
    assert store.runs.cancel(run.id, by="bob", now=LATER) == over
    with pytest.raises(RunTaken, match="run-000001 is cancelled"):
        store.runs.update(run.id, holder="one", now=LATER)

    promoting = start(store, LATER)
    store.runs.update(promoting.id, now=LATER, stage=RunStage.PROMOTE, generation="g1")
    with pytest.raises(WrongState, match="promotes g1 already"):
        store.runs.cancel(promoting.id, by="ada", now=LATER)
    store.runs.finish(promoting.id, RunState.SUCCEEDED, now=LATER)
    with pytest.raises(WrongState, match="run-000002 is succeeded"):
        store.runs.cancel(promoting.id, by="ada", now=LATER)


def test_a_run_decided_on_what_is_no_longer_so_does_not_start(store: Store) -> None:
    first = store.runs.create(trigger=RunTrigger.LABELS, after="", now=NOW)
    store.runs.finish(first.id, RunState.FAILED, now=NOW)
    with pytest.raises(WrongState, match="run-000001 came first"):
        store.runs.create(trigger=RunTrigger.LABELS, after="", now=NOW)
    assert store.runs.create(trigger=RunTrigger.DRIFT, after=first.id, now=NOW).id == "run-000002"
    assert store.runs.newest() == store.runs.newest_of(RunTrigger.DRIFT)
    assert store.runs.newest_of(RunTrigger.INTERVAL) is None


def test_a_run_has_seen_the_labels_there_were_at_its_start_unless_its_trainer_died(store: Store, fill: Any) -> None:
    assert store.runs.newest_label_seen() == 0
    fill(0.2, 0.1)
    store.labels.submit([FrameLabels("f000"), FrameLabels("f001")], labeller="ada", now=NOW)

    def die() -> Run:
        dead = store.runs.create(trigger=RunTrigger.LABELS, holder="one", now=NOW)
        failed = take(store, "two", LATER, resumptions=0)
        assert failed is not None
        assert (failed.id, failed.state, failed.stage) == (dead.id, RunState.FAILED, RunStage.SNAPSHOT)
        assert failed.error == "interrupted: no heartbeat since 2026-01-01T12:00:00+00:00"
        return dead

    assert die().label_sequence == 2
    assert store.runs.newest_label_seen() == 0
    store.runs.finish(start(store).id, RunState.FAILED, now=NOW)
    for _ in range(60):
        die()
    assert store.runs.newest_label_seen() == 2


def test_what_a_run_tells_is_read_line_by_line(store: Store) -> None:
    run, text = start(store), "gate nll: passed"
    store.run_log.add(run.id, "started", now=NOW)
    (first,) = store.run_log.lines(run.id)
    assert (first.time, first.text) == (NOW, "started")
    store.run_log.add(run.id, text, now=LATER)
    assert [line.text for line in store.run_log.lines(run.id, after=first.id)] == [text]
    assert store.run_log.lines("run-000002") == ()


def test_runs_come_by_page_newest_first_and_by_state(store: Store) -> None:
    for state in (RunState.SUCCEEDED, RunState.FAILED, RunState.SUCCEEDED):
        store.runs.finish(start(store).id, state, now=LATER)
    first = store.runs.list(page_size=2)
    second = store.runs.list(page_size=2, page_token=first.next_token)
    assert [run.id for run in (*first.items, *second.items)] == ["run-000003", "run-000002", "run-000001"]
    assert second.next_token == ""
    assert [run.id for run in store.runs.list(state=RunState.SUCCEEDED).items] == ["run-000003", "run-000001"]


@pytest.mark.parametrize("run_id", ["run-000002", "run-1", "1", "", "run-0000001", "run-" + "9" * 5000])
def test_an_unknown_run_is_not_found(store: Store, run_id: str) -> None:
    start(store)
    with pytest.raises(NotFound):
        store.runs.get(run_id)
    with pytest.raises(NotFound):
        store.runs.update(run_id, now=NOW)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("stage_progress", {"stage_progress": 1.01}),
        ("stage_progress", {"stage_progress": float("nan")}),
        ("metrics", {"metrics": {"nll": float("nan")}}),
        ("gates", {"gates": [{"candidate": float("inf")}]}),
        ("gates", {"gates": [{"candidate": object()}]}),
    ],
)
def test_figures_that_are_none_are_refused_by_field(store: Store, field: str, wrong: Any) -> None:
    run = start(store)
    with pytest.raises(InvalidArgument, match=field):
        store.runs.update(run.id, now=NOW, **wrong)
    assert store.runs.get(run.id) == run


def test_why_a_generation_was_rolled_back_is_written_to_its_run_once_that_is_over(store: Store) -> None:
    run = start(store)
    store.runs.update(run.id, now=NOW, metrics={"nll": 0.5})
    store.runs.note_rolled_back(run.id, error="too early")
    assert store.runs.get(run.id).error == ""
    store.runs.finish(run.id, RunState.SUCCEEDED, now=NOW)
    store.runs.note_rolled_back(run.id, error="rolled back: too slow")
    over = store.runs.get(run.id)
    assert (over.state, over.error, over.metrics) == (
        RunState.SUCCEEDED,
        "rolled back: too slow",
        {"nll": 0.5, "rolled_back": 1.0},
    )
    store.runs.note_rolled_back("run-000099", error="there is no such run")
    store.runs.note_rolled_back("", error="the generation is of no run")
