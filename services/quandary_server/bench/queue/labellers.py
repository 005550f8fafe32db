"""Labellers that lease side by side, and what they were given."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from quandary_server.bench.queue.fill import rank_of
from quandary_server.clock import now
from quandary_server.storage.store import Store
from quandary_server.storage.task_values import ACTIVE_QUEUE

LABELLERS, AT_ONCE = 16, 10
DURATION = timedelta(hours=1)

Lease = Callable[[str], Sequence[int]]
"""Leases the next tasks for a holder, and returns their ranks."""


@dataclass(frozen=True)
class Call:
    """One lease: when it began and ended, in seconds, and the ranks of what it gave."""

    began_s: float
    ended_s: float
    ranks: Sequence[int]


def store_lease(store: Store) -> Lease:
    """Return what leases ten tasks of a store."""

    def lease(holder: str) -> list[int]:
        found = store.leases.lease(ACTIVE_QUEUE, holder=holder, max_tasks=AT_ONCE, duration=DURATION, now=now())
        return [rank_of(task.frame_id) for task in found]

    return lease


def timed(lease: Lease, holder: str) -> Call:
    """Return one lease with its times."""
    began_s = time.perf_counter()
    ranks = lease(holder)
    return Call(began_s, time.perf_counter(), ranks)


def side_by_side(lease: Lease, goes_on: Callable[[float], bool]) -> list[Call]:
    """Let sixteen labellers lease, each again as soon as it is answered, until all is leased; return their calls.

    goes_on: of the seconds since they began, whether to lease again.
    """
    together = threading.Barrier(LABELLERS)

    def labeller(number: int) -> list[Call]:
        together.wait()
        began_s, calls = time.perf_counter(), []
        while goes_on(time.perf_counter() - began_s):
            call = timed(lease, f"labeller-{number}")
            if not call.ranks:
                break
            calls.append(call)
        return calls

    with ThreadPoolExecutor(LABELLERS) as pool:
        return [call for calls in pool.map(labeller, range(LABELLERS)) for call in calls]


def per_second(calls: Sequence[Call]) -> float:
    """Return how many calls there were a second, from the first one's beginning to the last one's end."""
    return len(calls) / (max(call.ended_s for call in calls) - min(call.began_s for call in calls))


def p99_ms(calls: Sequence[Call]) -> float:
    """Return the 99th percentile of how long calls took, in milliseconds."""
    return float(np.percentile([(call.ended_s - call.began_s) * 1e3 for call in calls], 99))


def doubles(calls: Sequence[Call]) -> int:
    """Return how many tasks were given more than once."""
    return sum(times > 1 for times in Counter(rank for call in calls for rank in call.ranks).values())


def not_top(calls: Sequence[Call]) -> int:
    """Return how many tasks were given while one in front of them waited all through the call that gave them.

    One in front waited all through a call if none gave it, or one that began after the call had ended. For leases without end,
    of ranks from 0 on.
    """
    last = max((rank for call in calls for rank in call.ranks), default=-1)
    began_s = np.full(last + 1, np.inf)
    for call in calls:
        for rank in call.ranks:
            began_s[rank] = min(began_s[rank], call.began_s)
    latest_s = np.maximum.accumulate(began_s)  # of each rank and all in front of it
    return sum(bool(latest_s[rank] > call.ended_s) for call in calls for rank in call.ranks)
