"""The scoring service with replicas of a benchmark's own, in place of those of `quandary scoring`."""

import signal
import threading
from collections.abc import Sequence

from ray import serve

from quandary_server.cluster import start_cluster
from quandary_server.logs import configure_logging
from quandary_server.scoring.app import APPLICATION, application, prepare_data
from quandary_server.scoring.ingress import ScoringIngress
from quandary_server.scoring.member_replica import MemberReplica
from quandary_server.scoring.registration import SERVICERS
from quandary_server.scoring.service import start_serve, stop_scoring
from quandary_server.settings import load_settings
from quandary_server.supervisor import end_with


def serve_changed(
    parent: int,
    ingress: type[ScoringIngress],
    member: type[MemberReplica] = MemberReplica,
    servicers: Sequence[str] = SERVICERS,
) -> None:
    """Run the service until SIGTERM, or until its parent dies.

    ingress, member: as `application` takes them. servicers: names of what registers the services.
    """
    configure_logging()
    end_with(parent)
    settings, stop = load_settings(), threading.Event()
    start_cluster(settings, metrics_port=settings.scoring.metrics_port)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    prepare_data(settings)
    start_serve(settings, servicers)
    serve.run(application(settings, ingress, member), name=APPLICATION, route_prefix="/")
    stop.wait()
    stop_scoring()
