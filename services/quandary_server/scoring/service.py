"""Starts and ends the scoring service on a Ray cluster."""

from collections.abc import Sequence

import ray
from ray import serve
from ray.serve.config import HTTPOptions, ProxyLocation, gRPCOptions

from quandary_server.scoring.app import APPLICATION, application, prepare_data
from quandary_server.scoring.gpu import check_gpus
from quandary_server.scoring.registration import SERVICERS
from quandary_server.settings import Settings


def start_scoring(settings: Settings) -> None:
    """Deploy the application on the cluster that this process has joined; returns when its replicas answer.

    Raises InvalidArgument where the replicas reserve more GPUs than the cluster has.
    """
    there: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    check_gpus(settings, there.get("GPU", 0.0))
    prepare_data(settings)
    start_serve(settings)
    serve.run(application(settings), name=APPLICATION, route_prefix="/")


def start_serve(settings: Settings, servicers: Sequence[str] = SERVICERS) -> None:
    """Start Serve itself, with what listens in front of the replicas; servicers: names of what registers the services."""
    scoring = settings.scoring
    serve.start(
        proxy_location=ProxyLocation.EveryNode,
        http_options=HTTPOptions(host=scoring.host, port=scoring.http_port),
        grpc_options=gRPCOptions(port=scoring.port, grpc_servicer_functions=list(servicers)),
    )


def stop_scoring() -> None:
    """End the application and Serve itself."""
    serve.shutdown()  # type: ignore[no-untyped-call]
