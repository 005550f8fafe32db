"""Two clusters share a machine."""

import os
import subprocess
import sys

from quandary_server.cluster import REPLICA_PORTS

PRINT_PORTS = """
import os, sys
from quandary_server.cluster import prepare_environment
from quandary_server.settings import load_settings
prepare_environment(load_settings())
print(os.environ["RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT"], os.environ["RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT"], flush=True)
sys.stdin.read()
"""


def test_no_two_quandarys_of_a_machine_have_a_replica_port_in_common() -> None:
    # what the session's own cluster set for itself is not inherited
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    others = [
        subprocess.Popen(
            [sys.executable, "-c", PRINT_PORTS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        for _ in range(4)
    ]
    try:
        ranges = [tuple(map(int, other.stdout.readline().split())) for other in others if other.stdout]
    finally:
        for other in others:
            other.communicate()
    taken = [port for first, stop in ranges for port in range(first, stop)]
    assert len(taken) == len(set(taken)) == 4 * 2 * REPLICA_PORTS
    assert all(first > 20000 and stop < 32768 for first, stop in ranges)
