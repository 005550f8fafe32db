"""The trainer as a process."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import grpc
from prometheus_client import CollectorRegistry, start_http_server

from quandary.errors import QuandaryError
from quandary.options import ScoringOptions
from quandary.v1 import training_pb2_grpc
from quandary_server import metrics
from quandary_server.auth import Keyring, ensure_tokens
from quandary_server.clock import now
from quandary_server.cluster import give_way
from quandary_server.grpc_server import GRACE, start_server, until_told_to_stop
from quandary_server.registry.directory import Registry
from quandary_server.registry.retention import prune
from quandary_server.settings import Settings
from quandary_server.storage.run_values import Run, RunState
from quandary_server.storage.store import Store
from quandary_server.trainer.live_quality import LiveQuality
from quandary_server.trainer.moves import Moves
from quandary_server.trainer.scheduler import Scheduler
from quandary_server.trainer.servicer import TrainingServicer
from quandary_server.trainer.watch import Watch
from quandary_server.wire.door import Door

log = logging.getLogger(__name__)

SERVICE = "quandary.v1.TrainingService"


class Meters:
    """The trainer's metrics."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self.registry = CollectorRegistry()
        self._store, self._models = store, registry
        self._calls = metrics.counter(metrics.TRAINER_CALLS, self.registry)
        self._seconds = metrics.histogram(metrics.TRAINER_CALL_SECONDS, self.registry)
        self._runs = metrics.counter(metrics.TRAINER_RUNS, self.registry)
        self._run_seconds = metrics.histogram(metrics.TRAINER_RUN_SECONDS, self.registry)
        self._candidate: dict[str, float] = {}

    def watch(self, scheduler: Scheduler) -> None:
        """Read the scheduler's state at every scrape from now on."""

        def new_crops() -> Iterable[metrics.Sample]:
            yield metrics.TRAINER_NEW_CROPS, (), float(scheduler.new_labels().crops)

        def drift() -> Iterable[metrics.Sample]:
            if (index := scheduler.drift_index()) is not None:
                yield metrics.TRAINER_DRIFT, (), index

        self.registry.register(metrics.StateCollector(self._running, self._generation, new_crops, drift, self._figures))

    def read(self, *sources: Callable[[], Iterable[metrics.Sample]]) -> None:
        """Read these as well at every scrape from now on."""
        self.registry.register(metrics.StateCollector(*sources))

    def call(self, method: str, code: str, seconds: float) -> None:
        """Count a call."""
        self._calls.labels(method, code).inc()
        self._seconds.labels(method).observe(seconds)

    def ended(self, run: Run) -> None:
        """Count a run."""
        self._runs.labels(run.state.value).inc()
        if run.end_time is not None:
            self._run_seconds.observe((run.end_time - run.start_time).total_seconds())
        figures = {name: value for name, value in run.metrics.items() if not name.startswith("seconds_")}
        self._candidate = figures or self._candidate

    def _running(self) -> Iterable[metrics.Sample]:
        running = self._store.runs.list(state=RunState.RUNNING, page_size=1).items
        yield metrics.TRAINER_RUNNING, (), float(len(running))

    def _generation(self) -> Iterable[metrics.Sample]:
        pointer = self._models.pointer()
        number = self._models.manifest(pointer.generation).number if pointer else 0
        yield metrics.TRAINER_GENERATION, (), float(number)

    def _figures(self) -> Iterable[metrics.Sample]:
        for name, value in self._candidate.items():
            yield metrics.TRAINER_CANDIDATE, (name,), value


async def serve_trainer(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM."""
    ensure_tokens(settings.tokens)
    trainer = settings.trainer
    with settings.open_store() as store:
        registry = settings.open_registry()
        meters = Meters(store, registry)
        moves = Moves(store, meters.registry)
        scheduler = Scheduler(store, registry, settings, now, lambda run: _ended(run, meters, registry, settings), moves.tell)
        meters.watch(scheduler)
        options = ScoringOptions(mc_samples=settings.selector.mc_samples)
        quality = LiveQuality(store, registry, options, trainer.net.side, trainer.watch.control_frames)
        watch = Watch(store, registry, trainer.watch, quality, now, moves.tell)
        meters.read(watch.watching, watch.quality)
        door = Door(Keyring(settings.tokens, now), meters.call)
        servicer = TrainingServicer(door, store, registry, scheduler, now, moves.tell)

        def register(server: grpc.aio.Server) -> None:
            training_pb2_grpc.add_TrainingServiceServicer_to_server(servicer, server)

        server, port = await start_server(trainer.host, trainer.port, {SERVICE: store.answers}, [register])
        http, _ = start_http_server(trainer.metrics_port, trainer.host, meters.registry)
        log.info("trainer_ready port=%d", port)
        every_s = trainer.poll.total_seconds()
        looks = (again_and_again(scheduler.look, every_s), again_and_again(watch.look, every_s, begin=give_way))
        looking = [asyncio.create_task(look) for look in looks]
        try:
            await until_told_to_stop()
        finally:
            for task in looking:
                task.cancel()
            await asyncio.gather(*looking, return_exceptions=True)
            await server.stop(GRACE.total_seconds())
            await asyncio.to_thread(scheduler.stop)
            http.shutdown()


def _ended(run: Run, meters: Meters, registry: Registry, settings: Settings) -> None:
    """Count a run, and delete the generations that are old now."""
    meters.ended(run)
    try:
        prune(registry, settings.registry.retention, now())
    except QuandaryError as error:
        # the next run's end, or `quandary generations prune`, does it then
        log.error("registry_not_pruned problem=%s", error)


async def again_and_again(look: Callable[[], None], every_s: float, begin: Callable[[], None] = lambda: None) -> None:
    """Look until cancelled, in a thread of its own that does `begin` first; what goes wrong is logged, once while it lasts."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="look", initializer=begin)
    told = ""
    try:
        while True:
            problem = ""
            try:
                await asyncio.get_running_loop().run_in_executor(thread, look)
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
                if problem != told:
                    log.error("look_failed problem=%s", problem, exc_info=not isinstance(error, QuandaryError))
            if told and not problem:
                log.info("look_goes_on problem_was=%s", told)
            told = problem
            await asyncio.sleep(every_s)
    finally:
        thread.shutdown(wait=False, cancel_futures=True)
