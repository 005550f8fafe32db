"""Clients of TrainingService."""

import time
from contextlib import aclosing, closing, suppress
from datetime import timedelta
from math import inf
from typing import Any, overload

from quandary.calls import Call, Listing
from quandary.clients import AsyncClient, Client
from quandary.convert import duration_message
from quandary.errors import DeadlineExceeded, Unavailable
from quandary.methods import Paged, Streamed, Unary
from quandary.names import generation_name, run_name
from quandary.v1 import training_pb2, training_pb2_grpc, view_pb2

__all__ = ["AsyncTrainingClient", "TrainingClient"]

REPLICA_TIMEOUT = timedelta(seconds=60)


class TrainingCalls:
    """The calls that both training clients make in the same way. Runs and generations go by id or by name."""

    _timeout: timedelta
    _training: training_pb2_grpc.TrainingServiceStub

    def _use(self, channel: Any) -> None:
        self._training = training_pb2_grpc.TrainingServiceStub(channel)

    @Unary
    def start_run(
        self,
        *,
        members: int | None = None,
        steps: int | None = None,
        seed: int | None = None,
        promote: bool = True,
        timeout: timedelta | None = None,
    ) -> Call[training_pb2.Run]:
        """Start a run on all labels there are now; None is the server's setting.

        Not retried: a lost answer would train twice. Raises WrongState while another run goes on, TooLittleData.
        """
        request = training_pb2.StartRunRequest(members=members, steps=steps, seed=seed, promote=promote)
        return Call.of(self._training.StartRun, request, lambda response: response.run, timeout)

    @Unary
    def get_run(self, run: str, *, timeout: timedelta | None = None) -> Call[training_pb2.Run]:
        """Return one run; raises NotFound."""
        request = training_pb2.GetRunRequest(name=run_name(run))
        return Call.of(self._training.GetRun, request, lambda response: response.run, timeout)

    @Paged
    def list_runs(
        self,
        *,
        state: training_pb2.RunState.ValueType = training_pb2.RUN_STATE_UNSPECIFIED,
        page_size: int = 0,
        timeout: timedelta | None = None,
    ) -> Listing[training_pb2.Run]:
        """List runs, newest first; of one state, or of all."""
        request = training_pb2.ListRunsRequest(state=state, page_size=page_size)
        return Listing.of(self._training.ListRuns, request, lambda page: page.runs, timeout)

    @Streamed
    def watch_run(self, run: str, *, timeout: timedelta | None = None) -> Call[training_pb2.Run]:
        """Yield a run whenever it changes, until it ends; raises NotFound. timeout: for all of it, None is no limit."""
        request = training_pb2.WatchRunRequest(name=run_name(run))
        return Call.of(self._training.WatchRun, request, lambda response: response.run, timeout)

    @Streamed
    def follow_run(self, run: str, *, timeout: timedelta | None = None) -> Call[training_pb2.WatchRunResponse]:
        """Yield a run whenever it changes or tells a line, with those lines, until it ends; as `watch_run` otherwise.

        The first message has all lines that there are.
        """
        request = training_pb2.WatchRunRequest(name=run_name(run))
        return Call.of(self._training.WatchRun, request, lambda response: response, timeout)

    @Unary
    def cancel_run(self, run: str, *, timeout: timedelta | None = None) -> Call[training_pb2.Run]:
        """End a run before its time and return it; one that was cancelled already is returned as it is.

        Raises NotFound, and WrongState for a run that is over otherwise, or that promotes already.
        """
        request = training_pb2.CancelRunRequest(name=run_name(run))
        return Call.of(self._training.CancelRun, request, lambda response: response.run, timeout)

    @Paged
    def list_generations(
        self,
        *,
        view: view_pb2.View.ValueType = view_pb2.VIEW_UNSPECIFIED,
        page_size: int = 0,
        timeout: timedelta | None = None,
    ) -> Listing[training_pb2.Generation]:
        """List generations, newest first; the BASIC view by default."""
        request = training_pb2.ListGenerationsRequest(view=view, page_size=page_size)
        return Listing.of(self._training.ListGenerations, request, lambda page: page.generations, timeout)

    @Unary
    def get_generation(self, generation: str = "current", *, timeout: timedelta | None = None) -> Call[training_pb2.Generation]:
        """Return one generation, by default the current one; raises NotFound."""
        request = training_pb2.GetGenerationRequest(name=generation_name(generation))
        return Call.of(self._training.GetGeneration, request, lambda response: response.generation, timeout)

    @Unary
    def promote(
        self,
        generation: str,
        *,
        expected_current: str | None = None,
        force: bool = False,
        replica_timeout: timedelta = REPLICA_TIMEOUT,
        timeout: timedelta | None = None,
    ) -> Call[training_pb2.PromoteGenerationResponse]:
        """Make a generation the current one and return when every replica answers with it.

        expected_current: raises PointerMoved where another is current; None promotes over whatever is. force: although a gate
        refused it (GateRefused otherwise). replica_timeout: how long the server waits for the replicas, 0 to 10 minutes, then
        it rolls back, and DeadlineExceeded names those that are missing; the call's own time is added to it. Not retried.
        """
        request = training_pb2.PromoteGenerationRequest(
            name=generation_name(generation),
            expected_current=None if expected_current is None else generation_name(expected_current),
            timeout=duration_message(replica_timeout),
            force=force,
        )
        allowed = replica_timeout + (self._timeout if timeout is None else timeout)
        return Call.of(self._training.PromoteGeneration, request, lambda response: response, allowed)

    @Unary
    def pin(self, generation: str, *, timeout: timedelta | None = None) -> Call[training_pb2.Generation]:
        """Keep a generation from being deleted, until `unpin`; raises NotFound, WrongState before the first promotion."""
        return self._pinned(generation, True, timeout)

    @Unary
    def unpin(self, generation: str, *, timeout: timedelta | None = None) -> Call[training_pb2.Generation]:
        """Let go of a generation that was pinned; raises as `pin` does."""
        return self._pinned(generation, False, timeout)

    def _pinned(self, generation: str, pinned: bool, timeout: timedelta | None) -> Call[training_pb2.Generation]:
        request = training_pb2.PinGenerationRequest(name=generation_name(generation), pinned=pinned)
        return Call.of(self._training.PinGeneration, request, lambda response: response.generation, timeout)

    @Unary
    def rollback(
        self,
        generation: str | None = None,
        *,
        replica_timeout: timedelta = REPLICA_TIMEOUT,
        timeout: timedelta | None = None,
    ) -> Call[training_pb2.RollbackGenerationResponse]:
        """Go back to a generation, by default the one before the current, and return when every replica answers with it.

        replica_timeout and the call's own time as in `promote`; what has gone back stays where replicas are late. Not retried:
        a lost answer would go back twice.
        """
        request = training_pb2.RollbackGenerationRequest(
            name="" if generation is None else generation_name(generation), timeout=duration_message(replica_timeout)
        )
        allowed = replica_timeout + (self._timeout if timeout is None else timeout)
        return Call.of(self._training.RollbackGeneration, request, lambda response: response, allowed)


class TrainingClient(TrainingCalls, Client):
    """Starts and follows training runs; promotes generations and rolls them back."""

    def wait_for_run(self, run: str, *, timeout: timedelta | None = None) -> training_pb2.Run:
        """Return the run when it has ended, however it ended; a restart of the trainer meanwhile does not end the wait.

        timeout: None is no limit; after it, raises DeadlineExceeded. Raises NotFound, and Unavailable where the trainer stays
        away for longer than a retried call waits.
        """
        patience = _Patience(run, timeout)
        while _goes_on(last := self.get_run(run, timeout=patience.left(at_most=self._timeout))):
            with suppress(Unavailable), closing(self.watch_run(run, timeout=patience.left())) as changes:
                for last in changes:
                    if not _goes_on(last):
                        return last
        return last


class AsyncTrainingClient(TrainingCalls, AsyncClient):
    """Starts and follows training runs; promotes generations and rolls them back; awaited."""

    async def wait_for_run(self, run: str, *, timeout: timedelta | None = None) -> training_pb2.Run:
        """Return the run when it has ended, as TrainingClient.wait_for_run does."""
        patience = _Patience(run, timeout)
        while _goes_on(last := await self.get_run(run, timeout=patience.left(at_most=self._timeout))):
            with suppress(Unavailable):
                async with aclosing(self.watch_run(run, timeout=patience.left())) as changes:
                    async for last in changes:
                        if not _goes_on(last):
                            return last
        return last


class _Patience:
    def __init__(self, run: str, timeout: timedelta | None) -> None:
        self._run = run
        self._end = inf if timeout is None else time.monotonic() + timeout.total_seconds()

    @overload
    def left(self) -> timedelta | None: ...
    @overload
    def left(self, at_most: timedelta) -> timedelta: ...
    def left(self, at_most: timedelta | None = None) -> timedelta | None:
        left_s = self._end - time.monotonic()
        if left_s < 1e-3:
            raise DeadlineExceeded(f"run {self._run} goes on, and the time to wait for it is over")
        if at_most is None:
            return None if left_s == inf else timedelta(seconds=left_s)
        return timedelta(seconds=min(left_s, at_most.total_seconds()))


def _goes_on(run: training_pb2.Run) -> bool:
    return run.state == training_pb2.RUN_STATE_RUNNING
