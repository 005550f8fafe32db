"""How many rows a second are ranked anew while labellers lease, and what that does to them."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from quandary_server.bench.figures import Figure, at_least, at_most, reported
from quandary_server.bench.progress import LeftOut, Told
from quandary_server.bench.queue.fill import fill, frame_id_of
from quandary_server.bench.queue.labellers import LABELLERS, p99_ms, side_by_side, store_lease
from quandary_server.bench.queue.places import kinds
from quandary_server.bench.queue.sizes import Sizes
from quandary_server.clock import now
from quandary_server.storage.options import StoreOptions
from quandary_server.storage.store import Store
from quandary_server.storage.task_values import ACTIVE_QUEUE

SEED = 0
CONNECTIONS = StoreOptions(connections=LABELLERS + 1)
"""One for who ranks beside those of the labellers: waiting for one is not what is measured."""

BARS = {"sqlite": 20_000.0, "postgres": 10_000.0}
OVER_ALONE = 3.0
WARM_UP_S = 0.5


def rerank_figures(told: Told, sizes: Sizes, left_out: LeftOut) -> list[Figure]:
    """Return how fast all that waits is ranked anew, at random, beside sixteen labellers; their p99 over what it is alone."""
    figures = []
    for kind, place in kinds("rerank", left_out):
        fill(place, sizes.rows, told)
        with Store.open(place, options=CONNECTIONS) as store:
            told(f"ranking in {kind.name}", 0, 1)
            figures += _figures(kind.name, store, sizes)
    return figures


def _figures(name: str, store: Store, sizes: Sizes) -> list[Figure]:
    side_by_side(store_lease(store), lambda seconds: seconds < WARM_UP_S)  # whoever is first has statements built
    alone = side_by_side(store_lease(store), lambda seconds: seconds < sizes.lease_s / 2)  # enough is to be left to rank
    ranked = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(_rerank, store, sizes.rows, ranked)
        beside = side_by_side(store_lease(store), lambda _: not ranked.is_set())
    alone_ms, beside_ms = p99_ms(alone), p99_ms(beside)
    rows, seconds = written.result()
    return [
        at_least(f"rerank_{name}", rows / seconds, f"rows a second, {rows} rows beside labellers", BARS[name]),
        at_most(f"rerank_{name}_lease_p99", beside_ms / alone_ms, "of the leases' p99 without ranking", OVER_ALONE),
        reported(f"rerank_{name}_lease_p99_ms", beside_ms, f"ms, of {len(beside)} leases"),
        reported(f"rerank_{name}_alone_p99_ms", alone_ms, f"ms, of {len(alone)} leases"),
    ]


def _rerank(store: Store, rows: int, ranked: threading.Event) -> tuple[int, float]:
    """Rank all that waits in another order; return how many rows, and the seconds that it took."""
    frame_ids = [frame_id_of(rank) for rank in np.random.default_rng(SEED).permutation(rows).tolist()]
    began_s = time.perf_counter()
    try:
        return store.ranking.write_ranks(ACTIVE_QUEUE, frame_ids, now=now()), time.perf_counter() - began_s
    finally:
        ranked.set()
