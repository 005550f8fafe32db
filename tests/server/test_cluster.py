"""Two clusters share a machine."""

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
    others = [
        subprocess.Popen([sys.executable, "-c", PRINT_PORTS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
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
