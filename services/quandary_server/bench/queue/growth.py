"""Whether a lease takes longer where more waits."""

from quandary_server.bench.figures import Figure, at_most, reported
from quandary_server.bench.progress import Told
from quandary_server.bench.queue.fill import fill
from quandary_server.bench.queue.labellers import p99_ms, store_lease, timed
from quandary_server.bench.queue.places import sqlite_place
from quandary_server.bench.queue.sizes import Sizes
from quandary_server.storage.store import Store

BOUND = 1.5
HOLDER = "labeller"


def growth_figures(told: Told, sizes: Sizes) -> list[Figure]:
    """Return the p99 of a lease of many rows over that of few, in SQLite: one labeller, who asks both by turns."""
    with sqlite_place() as few, sqlite_place() as many:
        fill(few, sizes.small, told)
        fill(many, sizes.grown, told)
        with Store.open(few) as small, Store.open(many) as grown:
            leases = store_lease(small), store_lease(grown)
            pairs = [tuple(timed(lease, HOLDER) for lease in leases) for _ in range(sizes.calls)]
    small_ms, grown_ms = p99_ms([few for few, _ in pairs]), p99_ms([many for _, many in pairs])
    return [
        at_most("lease_growth", grown_ms / small_ms, f"p99 at {sizes.grown} rows over that at {sizes.small}", BOUND),
        reported("lease_p99_small_ms", small_ms, "ms"),
        reported("lease_p99_grown_ms", grown_ms, "ms"),
    ]
