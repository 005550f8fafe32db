"""TrainingService: convert, call, convert."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from datetime import datetime, timedelta

from google.protobuf.duration_pb2 import Duration

from quandary.convert import duration
from quandary.errors import CorruptArtefact, GateRefused, InvalidArgument, NotFound, PointerMoved, within
from quandary.v1 import training_pb2, training_pb2_grpc, view_pb2
from quandary_server.auth import Caller, Role
from quandary_server.registry.directory import Registry
from quandary_server.registry.pointer import Pointer
from quandary_server.storage.paging import check_page_size
from quandary_server.storage.run_values import Run, RunState, RunTrigger
from quandary_server.storage.store import Store
from quandary_server.trainer.moves import Told, untold
from quandary_server.trainer.promotion import promote, roll_back
from quandary_server.trainer.scheduler import Scheduler
from quandary_server.wire.door import Door, streaming, unary
from quandary_server.wire.names import identifier_of
from quandary_server.wire.training import generation_message, line_message, run_message

DEFAULT_PAGE = 50
DEFAULT_TIMEOUT = timedelta(seconds=60)
MAX_TIMEOUT = timedelta(minutes=10)
LOOK_EVERY_S = 0.25
CURRENT = "current"

MAX_MEMBERS, MAX_STEPS = 32, 1_000_000

log = logging.getLogger(__name__)


class TrainingServicer(training_pb2_grpc.TrainingServiceServicer):
    """The service over store, registry and scheduler."""

    def __init__(
        self,
        door: Door,
        store: Store,
        registry: Registry,
        scheduler: Scheduler,
        clock: Callable[[], datetime],
        told: Told = untold,
    ) -> None:
        self.door, self._store, self._registry = door, store, registry
        self._scheduler, self._clock, self._told = scheduler, clock, told

    @unary(Role.TRAINER, training_pb2.StartRunResponse)
    async def StartRun(self, request: training_pb2.StartRunRequest, caller: Caller) -> training_pb2.StartRunResponse:
        """Start a run on all labels there are."""
        plan = await asyncio.to_thread(
            self._scheduler.plan,
            members=_optional(request, "members", 1, MAX_MEMBERS),
            steps=_optional(request, "steps", 1, MAX_STEPS),
            seed=request.seed if request.HasField("seed") else None,
            promote=request.promote if request.HasField("promote") else None,
        )
        run = await asyncio.to_thread(self._scheduler.start, plan, RunTrigger.CALL, caller.subject)
        return training_pb2.StartRunResponse(run=run_message(run))

    @unary(Role.TRAINER, training_pb2.GetRunResponse)
    async def GetRun(self, request: training_pb2.GetRunRequest, caller: Caller) -> training_pb2.GetRunResponse:
        """Return one run."""
        return training_pb2.GetRunResponse(run=run_message(await self._run(request.name)))

    @unary(Role.TRAINER, training_pb2.ListRunsResponse)
    async def ListRuns(self, request: training_pb2.ListRunsRequest, caller: Caller) -> training_pb2.ListRunsResponse:
        """Return a page of runs, newest first."""
        state = _run_state(request.state)
        size = request.page_size or DEFAULT_PAGE
        page = await asyncio.to_thread(self._store.runs.list, state=state, page_size=size, page_token=request.page_token)
        return training_pb2.ListRunsResponse(runs=map(run_message, page.items), next_page_token=page.next_token)

    @streaming(Role.TRAINER)
    async def WatchRun(
        self, request: training_pb2.WatchRunRequest, caller: Caller
    ) -> AsyncGenerator[training_pb2.WatchRunResponse, None]:
        """Yield the run whenever it changed, with what it told since, until it ended."""
        told: training_pb2.Run | None = None
        last_line = 0
        while True:
            run = await self._run(request.name)
            lines = await asyncio.to_thread(self._store.run_log.lines, run.id, after=last_line)
            message = run_message(run)
            if message != told or lines:
                told = message
                last_line = lines[-1].id if lines else last_line
                yield training_pb2.WatchRunResponse(run=message, lines=map(line_message, lines))
            if run.state is not RunState.RUNNING:
                return
            await asyncio.sleep(LOOK_EVERY_S)

    @unary(Role.TRAINER, training_pb2.CancelRunResponse)
    async def CancelRun(self, request: training_pb2.CancelRunRequest, caller: Caller) -> training_pb2.CancelRunResponse:
        """End a run before its time."""
        run_id = identifier_of("name", request.name, "runs")
        run = await asyncio.to_thread(self._scheduler.cancel, run_id, caller.subject)
        return training_pb2.CancelRunResponse(run=run_message(run))

    @unary(Role.TRAINER, training_pb2.ListGenerationsResponse)
    async def ListGenerations(
        self, request: training_pb2.ListGenerationsRequest, caller: Caller
    ) -> training_pb2.ListGenerationsResponse:
        """Return a page of generations, newest first; a page's token is the id it ended with."""
        size = check_page_size(request.page_size or DEFAULT_PAGE)
        ids = await asyncio.to_thread(self._registry.generations)
        if request.page_token:
            if request.page_token not in ids:
                raise InvalidArgument.of("page_token", repr(request.page_token), "a token of ListGenerations")
            ids = ids[ids.index(request.page_token) + 1 :]
        page = ids[:size]
        return training_pb2.ListGenerationsResponse(
            generations=[await self._generation(name, request.view) for name in page],
            next_page_token=page[-1] if len(ids) > size else "",
        )

    @unary(Role.TRAINER, training_pb2.GetGenerationResponse)
    async def GetGeneration(
        self, request: training_pb2.GetGenerationRequest, caller: Caller
    ) -> training_pb2.GetGenerationResponse:
        """Return one generation, or the current one."""
        name = identifier_of("name", request.name, "generations")
        if name == CURRENT:
            pointer = await asyncio.to_thread(self._registry.pointer)
            if pointer is None:
                raise NotFound("no generation has been promoted yet")
            name = pointer.generation
        view = request.view or view_pb2.VIEW_FULL
        return training_pb2.GetGenerationResponse(generation=await self._generation(name, view))

    @unary(Role.TRAINER, training_pb2.PromoteGenerationResponse)
    async def PromoteGeneration(
        self, request: training_pb2.PromoteGenerationRequest, caller: Caller
    ) -> training_pb2.PromoteGenerationResponse:
        """Make a generation current; return when every replica answers with it."""
        name = identifier_of("name", request.name, "generations")
        timeout = _timeout(request.timeout) if request.HasField("timeout") else DEFAULT_TIMEOUT
        replicas = await asyncio.to_thread(self._promote, name, request, timeout, caller.subject)
        return training_pb2.PromoteGenerationResponse(generation=await self._generation(name), replicas=replicas)

    def _promote(self, name: str, request: training_pb2.PromoteGenerationRequest, timeout: timedelta, mover: str) -> list[str]:
        manifest, pointer = self._registry.manifest(name), self._current()
        if manifest.refused and not request.force:
            refused = ", ".join(gate.gate for gate in manifest.gates if gate.verdict == "refused")
            raise GateRefused(f"{name} was refused by {refused}; promote it with force if you must")
        if request.HasField("expected_current"):
            current = f"generations/{pointer.generation}" if pointer else ""
            if current != request.expected_current:
                raise PointerMoved(f"the current generation is {current or 'unset'}, expected was {request.expected_current}")
        return promote(self._registry, name, pointer, mover=mover, timeout=timeout, clock=self._clock, told=self._told)

    @unary(Role.TRAINER, training_pb2.RollbackGenerationResponse)
    async def RollbackGeneration(
        self, request: training_pb2.RollbackGenerationRequest, caller: Caller
    ) -> training_pb2.RollbackGenerationResponse:
        """Go back to the generation before, or to a named one; return when every replica answers with it."""
        to = identifier_of("name", request.name, "generations") if request.name else None
        timeout = _timeout(request.timeout) if request.HasField("timeout") else DEFAULT_TIMEOUT
        pointer, replicas = await asyncio.to_thread(
            roll_back, self._registry, to, mover=caller.subject, timeout=timeout, clock=self._clock, told=self._told
        )
        generation = await self._generation(pointer.generation)
        return training_pb2.RollbackGenerationResponse(generation=generation, replicas=replicas)

    @unary(Role.TRAINER, training_pb2.PinGenerationResponse)
    async def PinGeneration(
        self, request: training_pb2.PinGenerationRequest, caller: Caller
    ) -> training_pb2.PinGenerationResponse:
        """Keep a generation from being deleted, or let go of it."""
        name = identifier_of("name", request.name, "generations")
        await asyncio.to_thread(self._registry.pin, name, request.pinned)
        log.info("generation_pinned generation=%s pinned=%s subject=%s", name, request.pinned, caller.subject)
        return training_pb2.PinGenerationResponse(generation=await self._generation(name))

    def _current(self) -> Pointer | None:
        """Return the pointer, None where there is none that can be read: promoting a generation replaces such a one."""
        try:
            return self._registry.pointer()
        except CorruptArtefact:
            return None

    async def _run(self, name: str) -> Run:
        return await asyncio.to_thread(self._store.runs.get, identifier_of("name", name, "runs"))

    async def _generation(self, name: str, view: view_pb2.View.ValueType = view_pb2.VIEW_BASIC) -> training_pb2.Generation:
        manifest = await asyncio.to_thread(self._registry.manifest, name)
        pointer = await asyncio.to_thread(self._current)
        message = generation_message(manifest, pointer, view)
        message.metrics.update(await asyncio.to_thread(self._shadow_figures, manifest.run))
        return message

    def _shadow_figures(self, run: str) -> dict[str, float]:
        """Return what the shadow found in a run: the manifest was written before it."""
        try:
            figures = self._store.runs.get(run).metrics
        except NotFound:
            return {}
        return {name: value for name, value in figures.items() if name.startswith("shadow_")}


def _optional(request: training_pb2.StartRunRequest, field: str, low: int, high: int) -> int | None:
    if not request.HasField(field):  # type: ignore[arg-type]
        return None
    value: int = getattr(request, field)
    if not low <= value <= high:
        raise InvalidArgument.of(field, value, f"{low} to {high}")
    return value


def _run_state(number: int) -> RunState | None:
    if number == training_pb2.RUN_STATE_UNSPECIFIED:
        return None
    value = training_pb2.RunState.DESCRIPTOR.values_by_number.get(number)
    if value is None:
        raise InvalidArgument.of("state", number, "a RunState")
    return RunState[value.name.removeprefix("RUN_STATE_")]


def _timeout(message: Duration) -> timedelta:
    with within("timeout"):
        timeout = duration(message)
    if not timedelta() <= timeout <= MAX_TIMEOUT:
        raise InvalidArgument.of("timeout", timeout, f"0 to {MAX_TIMEOUT}")
    return timeout
