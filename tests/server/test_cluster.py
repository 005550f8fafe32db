"""Two clusters share a machine."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from quandary_server.cluster import FREE_PORTS, LOOPBACK, REPLICA_PORTS, SERVE_VARIABLES, free_ports, port_is_free

PRINT_PORTS = """
import os, random, sys
random.seed(0)  # every process tries the same block first
from quandary_server.cluster import free_ports, prepare_environment
from quandary_server.settings import load_settings
prepare_environment(load_settings())
print(os.environ["RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT"], os.environ["RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT"])
print(*free_ports(60), flush=True)
sys.stdin.read()
"""


def test_no_two_quandarys_of_a_machine_have_a_replica_port_in_common() -> None:
    # what the session's own cluster set for itself is not inherited
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    others = [
        subprocess.Popen(
            [sys.executable, "-c", PRINT_PORTS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        for _ in range(2)
    ]
    try:
        ranges = [tuple(map(int, other.stdout.readline().split())) for other in others if other.stdout]
        given = [port for other in others if other.stdout for port in map(int, other.stdout.readline().split())]
    finally:
        for other in others:
            other.communicate()
    taken = [port for first, stop in ranges for port in range(first, stop)]
    assert len(taken) == len(set(taken)) == 2 * 2 * REPLICA_PORTS
    assert all(first > 20000 and stop < 32768 for first, stop in ranges)
    assert len(given) == len(set(given)) == 2 * 60


def test_free_ports_are_none_that_an_outgoing_connection_may_take_meanwhile() -> None:
    kept = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first = int(kept.read_text().split()[0]) if kept.is_file() else 32768
    found = free_ports(7) + free_ports(7)
    assert len(set(found)) == 14
    assert all(port in FREE_PORTS and port < first for port in found)


def test_a_port_that_somebody_listens_on_is_not_free() -> None:
    (port,) = free_ports(1)
    assert port_is_free(LOOPBACK, port)
    with socket.socket() as taken:
        taken.bind((LOOPBACK, port))
        taken.listen()
        assert not port_is_free(LOOPBACK, port)
    assert port_is_free(LOOPBACK, port)


def test_the_runbook_lists_what_a_cluster_of_ones_own_needs() -> None:
    runbook = (Path(__file__).parents[2] / "deploy" / "README.md").read_text()
    assert [name for name, value in SERVE_VARIABLES.items() if f"    {name}={value}" not in runbook] == []
