"""How many leases a second the gRPC service gives."""

import tempfile
from pathlib import Path

from quandary import LabellingClient
from quandary_server.auth import ensure_tokens
from quandary_server.bench.figures import Figure, at_least, at_most, reported
from quandary_server.bench.progress import Told
from quandary_server.bench.queue.fill import fill, rank_of
from quandary_server.bench.queue.labellers import (
    AT_ONCE,
    DURATION,
    LABELLERS,
    Lease,
    doubles,
    not_top,
    p99_ms,
    per_second,
    side_by_side,
)
from quandary_server.bench.queue.selector_process import selector_process
from quandary_server.bench.queue.sizes import Sizes
from quandary_server.cluster import free_ports
from quandary_server.settings import load_settings
from quandary_server.storage.store import Store
from quandary_server.storage.task_values import ACTIVE_QUEUE

BOUND = 100.0


def served_figures(told: Told, sizes: Sizes) -> list[Figure]:
    """Return what labellers get of a selector in a process of its own, each by a channel of its own: a lease is ten tasks."""
    with tempfile.TemporaryDirectory(prefix="quandary-bench-") as folder:
        port, metrics_port = free_ports(2)
        settings = load_settings(data=Path(folder), selector={"port": port, "metrics_port": metrics_port})
        token = ensure_tokens(settings.tokens)
        place = str(settings.database)
        Store.open(place).close()
        fill(place, sizes.rows, told)
        with selector_process(settings) as selector:
            told("leasing by gRPC", 0, 1)
            clients = {f"labeller-{i}": LabellingClient(selector.target, token=token) for i in range(LABELLERS)}
            try:
                calls = side_by_side(_lease(clients), lambda seconds: seconds < sizes.lease_s)
            finally:
                for client in clients.values():
                    client.close()
    unit = f"leases of {AT_ONCE} a second, {LABELLERS} labellers"
    return [
        at_least("leases_grpc", per_second(calls), unit, BOUND),
        reported("leases_grpc_p99_ms", p99_ms(calls), "ms"),
        at_most("leases_grpc_double", doubles(calls), "tasks", 0),
        at_most("leases_grpc_not_top", not_top(calls), "tasks given before one that waited in front", 0),
    ]


def _lease(clients: dict[str, LabellingClient]) -> Lease:
    def lease(holder: str) -> list[int]:
        return [rank_of(task.frame_id) for task in clients[holder].lease_tasks(ACTIVE_QUEUE, AT_ONCE, DURATION)]

    return lease
