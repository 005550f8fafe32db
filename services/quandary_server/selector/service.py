"""The selector as a process."""

import asyncio
import contextlib
import logging
import os
from collections import Counter
from collections.abc import Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
from prometheus_client import CollectorRegistry, start_http_server

from quandary.errors import Unavailable
from quandary.scoring import AsyncScoringClient
from quandary.v1 import labels_pb2_grpc, queue_pb2_grpc
from quandary_server import metrics
from quandary_server.allocation import collect_only_what_is_new, share_memory_among_threads
from quandary_server.auth import Keyring, ensure_tokens
from quandary_server.clock import now
from quandary_server.grpc_server import GRACE, start_server, until_told_to_stop
from quandary_server.leasing.status import TaskState
from quandary_server.selector.assignment import Assignment
from quandary_server.selector.consumer import Consumer
from quandary_server.selector.dead_letters import DeadLetters
from quandary_server.selector.election import Candidacy
from quandary_server.selector.embedder import Embedder
from quandary_server.selector.frame_scores import FrameScorer
from quandary_server.selector.label_servicer import LabelServicer
from quandary_server.selector.labelled_index import LabelledIndex
from quandary_server.selector.open_log import member_name, open_log
from quandary_server.selector.pace import Pace, threads_at_once
from quandary_server.selector.queue_servicer import QueueServicer
from quandary_server.selector.ranked_queues import RankedQueues
from quandary_server.selector.scoring_token import ScoringToken
from quandary_server.settings import Settings
from quandary_server.storage.elections import RANKING
from quandary_server.storage.store import Store
from quandary_server.storage.task_values import CONTROL_QUEUE, RejectKind
from quandary_server.wire.door import Door

log = logging.getLogger(__name__)

SERVICES = ("quandary.v1.QueueService", "quandary.v1.LabelService")


class Meters:
    """The selector's metrics."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._calls = metrics.counter(metrics.SELECTOR_CALLS, self.registry)
        self._seconds = metrics.histogram(metrics.SELECTOR_CALL_SECONDS, self.registry)
        self._records = metrics.counter(metrics.SELECTOR_RECORDS, self.registry)
        self._rejected = metrics.counter(metrics.SELECTOR_REJECTED, self.registry)
        self.dead_letters = metrics.counter(metrics.SELECTOR_DEAD_LETTERS, self.registry)
        self.lost = metrics.counter(metrics.SELECTOR_LOST, self.registry)
        self._rescored = metrics.counter(metrics.SELECTOR_RESCORED, self.registry)
        self.score_seconds = metrics.histogram(metrics.SELECTOR_SCORE_SECONDS, self.registry)
        self.retries = metrics.counter(metrics.SELECTOR_RETRIES, self.registry)

    def call(self, method: str, code: str, seconds: float) -> None:
        """Count a call."""
        self._calls.labels(method, code).inc()
        self._seconds.labels(method).observe(seconds)

    def applied(self, count: int) -> None:
        """Count log records that were applied."""
        self._records.labels("applied").inc(count)

    def rejected(self, kind: RejectKind, count: int) -> None:
        """Count log records that were rejected."""
        self._records.labels("rejected").inc(count)
        self._rejected.labels(kind.value).inc(count)

    def rescored(self, queue: str, count: int) -> None:
        """Count waiting tasks of a queue that were scored again."""
        self._rescored.labels(queue).inc(count)


@dataclass(frozen=True)
class State:
    """What the selector knows of itself beyond the store."""

    consumer: Consumer
    ranked: RankedQueues
    store: Store
    candidacy: Candidacy

    def generation(self) -> str:
        """Return the newest generation seen."""
        return self.ranked.generation()

    def ranked_generation(self, queue: str) -> str:
        """Return the generation of a queue's last query."""
        return self.store.ranking.ranked_generation(queue)

    def lag(self) -> int:
        """Return how many records wait in the log."""
        return self.consumer.lag()

    def queue_samples(self) -> Iterable[metrics.Sample]:
        """Yield the state of the queues, for a scrape."""
        time = now()
        for queue in self.store.tasks.queues():
            stats = self.store.tasks.stats(queue, generation=self.generation(), now=time)
            for state in TaskState:
                yield metrics.SELECTOR_TASKS, (queue, state.value), float(getattr(stats, state.value))
            yield metrics.SELECTOR_TASKS, (queue, "folded"), float(stats.folded)
            oldest = (time - stats.oldest_waiting).total_seconds() if stats.oldest_waiting else 0.0
            yield metrics.SELECTOR_OLDEST_SECONDS, (queue,), oldest
            yield metrics.SELECTOR_BEHIND, (queue,), float(stats.behind)
            if queue != CONTROL_QUEUE and self.generation():
                waiting = stats.waiting + stats.folded
                yield metrics.SELECTOR_RESCORED_SHARE, (queue,), 1 - stats.behind / waiting if waiting else 1.0
                ranked = self.ranked_generation(queue) == self.generation()
                yield metrics.SELECTOR_RANKED, (queue,), float(ranked)

    def ranking_samples(self) -> Iterable[metrics.Sample]:
        """Yield how long this selector has known the newest generation, and whether it leads, for a scrape."""
        yield metrics.SELECTOR_LEADS, (), float(self.candidacy.lead() is not None)
        if seen := self.ranked.generation_seen():
            yield metrics.SELECTOR_GENERATION_SEEN_SECONDS, (), (now() - seen).total_seconds()

    def lag_samples(self) -> Iterable[metrics.Sample]:
        """Yield the state of the log, for a scrape."""
        waiting: Counter[str] = Counter()
        states: Counter[str] = Counter()
        for lag in self.consumer.lags():
            waiting[lag.label] += lag.waiting
            states[lag.state] += 1
        for label, count in waiting.items():
            yield metrics.SELECTOR_LAG, (label,), float(count)
        for state, count in states.items():
            if state:
                yield metrics.SELECTOR_FILES, (state,), float(count)


async def serve_selector(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM."""
    share_memory_among_threads()
    ensure_tokens(settings.tokens)
    selector = settings.selector
    threads = threads_at_once(settings.store.connections, os.cpu_count() or 1)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(threads, "asyncio"))
    meters = Meters()
    async with contextlib.AsyncExitStack() as stack:
        store = stack.enter_context(settings.open_store())
        fleet_log = open_log(settings, store, now, meters.lost.inc)
        stack.callback(fleet_log.frames.close)
        client = await stack.enter_async_context(
            AsyncScoringClient(
                settings.scoring_target, token=ScoringToken(settings), credentials=selector.scoring_tls.credentials()
            )
        )
        options = selector.scoring_options()
        scorer = FrameScorer(client, options, meters.retries.inc, meters.score_seconds.observe, selector.readers)
        stack.callback(scorer.close)
        named = frozenset(selector.control_drives)
        assignment = Assignment(selector.control_share, named, selector.shuffle_seed, selector.queues)
        pace = Pace(selector.batch, selector.in_flight, selector.poll)
        box = fleet_log.dead_letters
        dead_letters = DeadLetters(box, store, now, meters.dead_letters.inc) if box else None
        consumer = Consumer(fleet_log.frames, store, scorer, assignment, now, meters, pace, dead_letters)
        candidacy = Candidacy(store.elections, RANKING, member_name(settings), now, selector.member_lasts)
        candidacy.begin()
        stack.callback(candidacy.end)
        ranked = RankedQueues.of(selector, store, scorer, now, meters.rescored, pace, candidacy.lead)
        state = State(consumer, ranked, store, candidacy)
        embedder, labelled = Embedder(store, scorer, candidacy.lead, pace), LabelledIndex(store.embeddings, state.generation)
        meters.registry.register(metrics.StateCollector(state.queue_samples, state.lag_samples, state.ranking_samples))

        door = Door(Keyring(settings.tokens, now), meters.call)
        queues, labels = QueueServicer(door, store, state, now, labelled), LabelServicer(door, store, now)

        def register(server: grpc.aio.Server) -> None:
            queue_pb2_grpc.add_QueueServiceServicer_to_server(queues, server)
            labels_pb2_grpc.add_LabelServiceServicer_to_server(labels, server)

        ready = dict.fromkeys(SERVICES, store.answers)
        server, port = await start_server(selector.host, selector.port, ready, [register])
        http, _ = start_http_server(selector.metrics_port, selector.host, meters.registry)
        collect_only_what_is_new()
        log.info("selector_ready port=%d", port)
        try:
            of_labelled = [embedder.run(), _follow(labelled, pace)] if options.include_embedding else []
            of_letters = [dead_letters.run(pace.poll)] if dead_letters else []
            await _until_stopped([consumer.run(), ranked.run(), *of_letters, *of_labelled])
        finally:
            await server.stop(GRACE.total_seconds())
            http.shutdown()


async def _follow(labelled: LabelledIndex, pace: Pace) -> None:
    """Keep the index of labelled frames up to date, so that no call waits for it."""
    while True:
        try:
            moved = await asyncio.to_thread(labelled.follow)
        except Unavailable as error:
            log.warning("labelled_not_followed problem=%s", error)
            moved = False
        if not moved:
            await asyncio.sleep(pace.poll.total_seconds())


async def _until_stopped(running: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run the loops until told to stop; one that breaks ends the service, for its supervisor to start anew."""
    loops = [asyncio.create_task(loop) for loop in running]
    told = asyncio.create_task(until_told_to_stop())
    done, waiting = await asyncio.wait([told, *loops], return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    for task in done:
        task.result()
