"""How many threads of a selector use the store at once."""

import pytest

from quandary_server.selector.pace import BESIDE_CALLS, threads_at_once


@pytest.mark.parametrize(("connections", "cores", "threads"), [(16, 2, 6), (16, 16, 13), (1000, 64, 32), (2, 2, 1)])
def test_threads_and_those_beside_them_fit_the_connections(connections: int, cores: int, threads: int) -> None:
    assert threads_at_once(connections, cores) == threads
    assert threads == 1 or threads + BESIDE_CALLS <= connections
