import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, NoReturn

import grpc
import pytest

from quandary import DeadlineExceeded, InvalidArgument, NotFound, PointerMoved, QuandaryError, TrainingClient
from quandary.v1 import training_pb2, view_pb2

Serve = Callable[[dict[str, Callable[..., Any]]], str]
Connect = Callable[..., TrainingClient]
Changes = Iterator[training_pb2.WatchRunResponse]
Refuse = Callable[[grpc.ServicerContext, QuandaryError], NoReturn]

RUNNING, SUCCEEDED = training_pb2.RUN_STATE_RUNNING, training_pb2.RUN_STATE_SUCCEEDED
ENDED = [
    training_pb2.RUN_STATE_SUCCEEDED,
    training_pb2.RUN_STATE_REFUSED,
    training_pb2.RUN_STATE_FAILED,
    training_pb2.RUN_STATE_CANCELLED,
]


class Recorder:
    """Answers with one response and remembers requests and the time allowed."""

    def __init__(self, response: Any) -> None:
        self.requests: list[Any] = []
        self.seconds: list[float] = []
        self._response = response

    def __call__(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.requests.append(request)
        self.seconds.append(context.time_remaining())
        return self._response


class Trainer:
    """A run that goes through its states while it is watched; `cut_after` so many changes the first stream breaks."""

    def __init__(self, states: list[training_pb2.RunState.ValueType], cut_after: int | None = None) -> None:
        self.watches = 0
        self._states = states
        self._cut_after = cut_after
        self._now = 0

    def run(self) -> training_pb2.Run:
        return training_pb2.Run(name="runs/run-1", state=self._states[self._now], stage_progress=self._now)

    def get(self, request: training_pb2.GetRunRequest, context: Any) -> training_pb2.GetRunResponse:
        return training_pb2.GetRunResponse(run=self.run())

    def watch(self, request: training_pb2.WatchRunRequest, context: grpc.ServicerContext) -> Changes:
        self.watches += 1
        while True:
            yield training_pb2.WatchRunResponse(run=self.run())
            if self._now == len(self._states) - 1:
                return
            self._now += 1
            if self._now == self._cut_after:
                context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")

    def serve(self, serve: Serve) -> str:
        return serve({"TrainingService/GetRun": self.get, "TrainingService/WatchRun": self.watch})


def test_a_run_is_started_with_the_servers_settings_or_ones_own(serve: Serve, connect: Connect) -> None:
    start = Recorder(training_pb2.StartRunResponse(run=training_pb2.Run(name="runs/run-1")))
    client = connect(TrainingClient, serve({"TrainingService/StartRun": start}))
    assert client.start_run().name == "runs/run-1"
    client.start_run(members=3, steps=150, seed=0, promote=False)
    unset, given = start.requests
    assert not any(unset.HasField(field) for field in ("members", "steps", "seed"))
    assert unset.promote
    assert (given.members, given.steps, given.seed, given.promote) == (3, 150, 0, False)
    assert given.HasField("seed")


def test_runs_are_listed_over_all_pages(serve: Serve, connect: Connect) -> None:
    asked = []

    def list_runs(request: training_pb2.ListRunsRequest, context: Any) -> training_pb2.ListRunsResponse:
        asked.append((request.state, request.page_size, request.page_token))
        page = int(request.page_token or 0)
        runs = [training_pb2.Run(name=f"runs/{page}{letter}") for letter in "ab"]
        return training_pb2.ListRunsResponse(runs=runs, next_page_token=str(page + 1) if page < 2 else "")

    client = connect(TrainingClient, serve({"TrainingService/ListRuns": list_runs}))
    names = [run.name for run in client.list_runs(state=SUCCEEDED, page_size=2)]
    assert names == ["runs/0a", "runs/0b", "runs/1a", "runs/1b", "runs/2a", "runs/2b"]
    assert asked == [(SUCCEEDED, 2, ""), (SUCCEEDED, 2, "1"), (SUCCEEDED, 2, "2")]


def test_pages_are_fetched_as_they_are_needed(serve: Serve, connect: Connect) -> None:
    response = training_pb2.ListGenerationsResponse(
        generations=[training_pb2.Generation(name="generations/1")], next_page_token="2"
    )
    generations = Recorder(response)
    listing = connect(TrainingClient, serve({"TrainingService/ListGenerations": generations})).list_generations(
        view=view_pb2.VIEW_FULL
    )
    assert generations.requests == []
    assert next(listing).name == "generations/1"
    assert [request.view for request in generations.requests] == [view_pb2.VIEW_FULL]
    listing.close()


def test_a_page_that_names_itself_as_the_next_is_an_error(serve: Serve, connect: Connect) -> None:
    same = Recorder(training_pb2.ListRunsResponse(next_page_token="again"))
    with pytest.raises(QuandaryError, match="same page"):
        list(connect(TrainingClient, serve({"TrainingService/ListRuns": same})).list_runs())
    assert len(same.requests) == 2


def test_a_run_is_watched_until_it_ends(serve: Serve, connect: Connect) -> None:
    client = connect(TrainingClient, Trainer([RUNNING, RUNNING, SUCCEEDED]).serve(serve))
    assert [run.state for run in client.watch_run("run-1")] == [RUNNING, RUNNING, SUCCEEDED]


def test_closing_a_watch_hangs_up(serve: Serve, connect: Connect) -> None:
    hung_up = threading.Event()

    def watch(request: Any, context: grpc.ServicerContext) -> Changes:
        context.add_callback(hung_up.set)
        yield training_pb2.WatchRunResponse(run=training_pb2.Run(state=RUNNING))
        hung_up.wait()

    changes = connect(TrainingClient, serve({"TrainingService/WatchRun": watch})).watch_run("run-1")
    assert next(changes).state == RUNNING
    changes.close()
    assert hung_up.wait(60)


@pytest.mark.parametrize("end", ENDED)
def test_waiting_returns_the_run_however_it_ends(serve: Serve, connect: Connect, end: training_pb2.RunState.ValueType) -> None:
    client = connect(TrainingClient, Trainer([RUNNING, RUNNING, end]).serve(serve))
    assert client.wait_for_run("runs/run-1").state == end


def test_waiting_for_a_run_that_has_ended_watches_nothing(serve: Serve, connect: Connect) -> None:
    trainer = Trainer([SUCCEEDED])
    assert connect(TrainingClient, trainer.serve(serve)).wait_for_run("run-1").state == SUCCEEDED
    assert trainer.watches == 0


def test_a_wait_outlives_a_cut_stream(serve: Serve, connect: Connect) -> None:
    trainer = Trainer([RUNNING, RUNNING, RUNNING, SUCCEEDED], cut_after=2)
    assert connect(TrainingClient, trainer.serve(serve)).wait_for_run("run-1").state == SUCCEEDED
    assert trainer.watches == 2


def test_a_wait_ends_with_its_timeout(serve: Serve, connect: Connect) -> None:
    def hang(request: Any, context: grpc.ServicerContext) -> Changes:
        yield training_pb2.WatchRunResponse(run=training_pb2.Run(state=RUNNING))
        while context.is_active():
            yield training_pb2.WatchRunResponse(run=training_pb2.Run(state=RUNNING))

    target = serve({"TrainingService/GetRun": Trainer([RUNNING]).get, "TrainingService/WatchRun": hang})
    with pytest.raises(DeadlineExceeded):
        connect(TrainingClient, target).wait_for_run("run-1", timeout=timedelta(milliseconds=300))


def test_waiting_for_no_run(serve: Serve, connect: Connect, refuse: Refuse) -> None:
    target = serve({"TrainingService/GetRun": lambda _, context: refuse(context, NotFound("no run run-9"))})
    with pytest.raises(NotFound, match="run-9"):
        connect(TrainingClient, target).wait_for_run("run-9")


def test_the_current_generation_is_the_default(serve: Serve, connect: Connect) -> None:
    get = Recorder(training_pb2.GetGenerationResponse(generation=training_pb2.Generation(name="generations/gen-2")))
    client = connect(TrainingClient, serve({"TrainingService/GetGeneration": get}))
    assert client.get_generation().name == "generations/gen-2"
    client.get_generation("gen-2")
    assert [request.name for request in get.requests] == ["generations/current", "generations/gen-2"]


def test_promotion_compares_and_allows_the_replicas_their_time(serve: Serve, connect: Connect) -> None:
    promote = Recorder(training_pb2.PromoteGenerationResponse(replicas=["r-1"]))
    client = connect(TrainingClient, serve({"TrainingService/PromoteGeneration": promote}))
    assert client.promote("gen-2").replicas == ["r-1"]
    one, ten = timedelta(minutes=1), timedelta(minutes=10)
    client.promote("gen-2", expected_current="gen-1", force=True, replica_timeout=ten, timeout=one)
    plain, compared = promote.requests
    assert (plain.name, plain.HasField("expected_current"), plain.force) == ("generations/gen-2", False, False)
    assert (compared.expected_current, compared.force) == ("generations/gen-1", True)
    assert [request.timeout.ToTimedelta() for request in promote.requests] == [one, ten]
    assert [limit - 25 < left < limit + 1 for limit, left in zip([90, 660], promote.seconds, strict=True)] == [True, True]


def test_a_promotion_that_came_second(serve: Serve, connect: Connect, refuse: Refuse) -> None:
    moved = PointerMoved("generations/gen-3 is current")
    target = serve({"TrainingService/PromoteGeneration": lambda _, context: refuse(context, moved)})
    with pytest.raises(PointerMoved, match="gen-3"):
        connect(TrainingClient, target).promote("gen-2", expected_current="gen-1")


def test_rolling_back_to_the_one_before_or_to_a_named_one(serve: Serve, connect: Connect) -> None:
    rollback = Recorder(training_pb2.RollbackGenerationResponse(generation=training_pb2.Generation(name="generations/gen-1")))
    client = connect(TrainingClient, serve({"TrainingService/RollbackGeneration": rollback}))
    assert client.rollback().generation.name == "generations/gen-1"
    client.rollback("gen-0")
    assert [request.name for request in rollback.requests] == ["", "generations/gen-0"]


@pytest.mark.parametrize("name", ["", "runs/a/b", "generations/1"])
def test_a_malformed_name_is_refused_before_anything_is_sent(connect: Connect, name: str) -> None:
    client = connect(TrainingClient, "127.0.0.1:1")
    with pytest.raises(InvalidArgument):
        client.get_run(name)
    with pytest.raises(InvalidArgument):
        client.watch_run(name)
