"""Whether every task is done exactly once where labellers vanish and answer late."""

import multiprocessing
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from datetime import timedelta

import numpy as np

from quandary_server.bench.figures import Figure, at_most, reported
from quandary_server.bench.progress import LeftOut, Told
from quandary_server.bench.queue.fill import fill, frame_id_of
from quandary_server.bench.queue.places import kinds
from quandary_server.bench.queue.shift import Report, open_store, work
from quandary_server.bench.queue.sizes import Sizes
from quandary_server.clock import now
from quandary_server.storage.store import Store
from quandary_server.storage.task_values import ACTIVE_QUEUE

PROCESSES, LABELLERS = 4, 12
RERANK_EVERY = timedelta(milliseconds=200)
SEED = 0


def fenced_figures(told: Told, sizes: Sizes, left_out: LeftOut) -> list[Figure]:
    """Return how many tasks were not done exactly once, by labellers in several processes, while ranks change."""
    figures = []
    for kind, place in kinds("fenced", left_out):
        fill(place, sizes.fenced, told)
        with open_store(place) as store:
            told(f"working in {kind.name}", 0, sizes.fenced)
            reports = _work(store, place, sizes.fenced, told)
            wrong = not_once(store, sizes.fenced, reports)
        name = "fenced" if kind.name == "sqlite" else f"fenced_{kind.name}"
        figures += [
            at_most(name, wrong, f"tasks of {sizes.fenced} not done exactly once", 0),
            at_most(
                f"{name}_late_taken", sum(r.late_taken for r in reports), f"of {sum(r.late for r in reports)} late answers", 0
            ),
            reported(f"{name}_vanished", sum(r.vanished for r in reports), "leases that were never answered"),
        ]
    return figures


def not_once(store: Store, count: int, reports: Sequence[Report]) -> int:
    """Return how many of the frames of rank 0 to count - 1 were not answered exactly once, or have no labels in the store."""
    done = Counter(frame_id for report in reports for frame_id in report.done)
    labelled = {labelled.labels.frame_id for labelled in store.labels.all()}
    frame_ids = [frame_id_of(rank) for rank in range(count)]
    return sum(done[frame_id] != 1 or frame_id not in labelled for frame_id in frame_ids)


def _work(store: Store, place: str, count: int, told: Told) -> list[Report]:
    holders = [f"labeller-{i}" for i in range(LABELLERS)]
    with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("forkserver")) as pool:
        shifts = [pool.submit(work, place, holders[i::PROCESSES]) for i in range(PROCESSES)]
        _rerank_until_done(store, shifts, count, told)
        return [report for shift in shifts for report in shift.result()]


def _rerank_until_done(store: Store, shifts: Sequence[Future[list[Report]]], count: int, told: Told) -> None:
    rng = np.random.default_rng(SEED)
    while wait(shifts, timeout=RERANK_EVERY.total_seconds()).not_done:
        frame_ids = [frame_id_of(rank) for rank in rng.permutation(count).tolist()]
        left = store.ranking.write_ranks(ACTIVE_QUEUE, frame_ids, now=now())
        told("working", count - left, count)
