"""How many leases a second a store gives, and how many the bare SQL of a lease gives beside it."""

from quandary.errors import WrongState
from quandary_server.bench.figures import Figure, at_least, at_most
from quandary_server.bench.progress import LeftOut, Told
from quandary_server.bench.queue.bare_sql import BARE
from quandary_server.bench.queue.fill import fill
from quandary_server.bench.queue.labellers import (
    AT_ONCE,
    LABELLERS,
    Call,
    Lease,
    doubles,
    not_top,
    p99_ms,
    per_second,
    side_by_side,
    store_lease,
)
from quandary_server.bench.queue.places import kinds
from quandary_server.bench.queue.sizes import Sizes
from quandary_server.storage.store import Store

ROUNDS = 2
BARS = {"sqlite": 600.0, "postgres": 400.0}
P99_MS, OVER_SQL = 150.0, 0.8


def lease_figures(told: Told, sizes: Sizes, left_out: LeftOut) -> list[Figure]:
    """Return what labellers get of a store, beside the bare SQL, in rounds by turns of the same rows: a lease is ten tasks."""
    figures = []
    for kind, place in kinds("leases", left_out):
        fill(place, sizes.rows, told)
        with Store.open(place) as store, BARE[kind.name](place) as bare:
            figures += _figures(kind.name, store_lease(store), bare, told, sizes)
    return figures


def _figures(name: str, store: Lease, bare: Lease, told: Told, sizes: Sizes) -> list[Figure]:
    ours: list[list[Call]] = []
    plain: list[list[Call]] = []
    for round_ in range(ROUNDS):
        told(f"leasing from {name}", round_, ROUNDS)
        ours.append(side_by_side(store, lambda seconds: seconds < sizes.lease_s))
        plain.append(side_by_side(bare, lambda seconds: seconds < sizes.lease_s))
    if not all([*ours, *plain]):
        raise WrongState(f"{sizes.rows} rows were leased before every round had begun")
    calls = [call for round_ in ours for call in round_]
    every = [*calls, *(call for round_ in plain for call in round_)]
    rates, bare_rates = [per_second(each) for each in ours], [per_second(each) for each in plain]
    rate, bare_rate = sum(rates) / len(rates), sum(bare_rates) / len(bare_rates)
    unit = f"leases of {AT_ONCE} a second, {LABELLERS} labellers"
    return [
        at_least(f"leases_{name}", rate, unit, BARS[name], rates),
        at_most(f"leases_{name}_p99_ms", p99_ms(calls), "ms", P99_MS),
        at_most(f"leases_{name}_double", doubles(every), f"tasks of {sum(len(call.ranks) for call in every)}", 0),
        at_most(f"leases_{name}_not_top", not_top(every), "tasks given before one that waited in front", 0),
        at_least(f"lease_over_sql_{name}", rate / bare_rate, "of the leases a second of bare SQL", OVER_SQL, bare_rates),
    ]
