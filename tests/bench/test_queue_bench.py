"""What `quandary bench queue` measures of leases, at sizes that take seconds."""

import pytest

from quandary.errors import InvalidArgument
from quandary_server.bench.queue.labellers import Call, doubles, not_top
from quandary_server.bench.queue.parts import QueuePart, part_of, queue_figures
from quandary_server.bench.queue.sizes import Sizes

TINY = Sizes(rows=6_000, grown=400, small=200, fenced=40, calls=10, lease_s=0.1)


def test_what_is_given_before_one_that_waited_in_front_is_counted() -> None:
    in_order = [Call(0.0, 1.0, [0, 1]), Call(0.5, 1.5, [2, 3])]
    assert not_top(in_order) == 0
    beside = [Call(0.0, 1.0, [2, 3]), Call(0.5, 1.5, [0, 1])]
    assert not_top(beside) == 0
    passed_over = [Call(0.0, 1.0, [2, 3]), Call(1.5, 2.0, [0, 1])]
    assert not_top(passed_over) == 2
    never_given = [Call(0.0, 1.0, [1, 2])]
    assert not_top(never_given) == 2
    assert not_top([]) == 0


def test_what_is_given_twice_is_counted() -> None:
    assert doubles([Call(0.0, 1.0, [0, 1]), Call(0.0, 1.0, [1, 2])]) == 1


def test_sizes_are_scaled_within_bounds() -> None:
    assert Sizes().scaled(1.0) == Sizes()
    assert Sizes().scaled(0.01).rows == 2_000
    assert Sizes().scaled(0.001).fenced == 100
    with pytest.raises(InvalidArgument, match="scale"):
        Sizes().scaled(0.0)


@pytest.mark.parametrize(
    ("part", "figure", "exact"),
    [
        (QueuePart.LEASES, "lease_over_sql_sqlite", ("leases_sqlite_double", "leases_sqlite_not_top")),
        (QueuePart.GRPC, "leases_grpc", ("leases_grpc_double", "leases_grpc_not_top")),
        (QueuePart.GROWTH, "lease_growth", ()),
        (QueuePart.FENCED, "fenced", ("fenced", "fenced_late_taken")),
        (QueuePart.RERANK, "rerank_sqlite", ()),
    ],
)
def test_a_part_is_measured_and_what_must_not_happen_does_not(part: QueuePart, figure: str, exact: tuple[str, ...]) -> None:
    left_out: list[tuple[str, Exception]] = []
    figures = queue_figures(lambda *_: None, [part], TINY, lambda name, error: left_out.append((name, error)))
    found = {each.name: each for each in figures}
    assert all(name.endswith("_postgres") for name, _ in left_out), left_out
    assert found[figure].value >= 0
    assert {part_of(name) for name in found} == {part}
    assert [found[name].value for name in exact] == [0] * len(exact)
