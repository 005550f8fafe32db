"""The scoring service with replicas that measure themselves: run as a module, in place of `quandary scoring`."""

import signal
import sys
import threading

from ray import serve

from quandary_server.bench.scoring.probe import ProbedIngress, add_probe
from quandary_server.cluster import start_cluster
from quandary_server.logs import configure_logging
from quandary_server.scoring.app import APPLICATION, application, prepare_data
from quandary_server.scoring.registration import SERVICERS
from quandary_server.scoring.service import start_serve, stop_scoring
from quandary_server.settings import load_settings
from quandary_server.supervisor import end_with


def main(parent: int) -> None:
    """Run the service until SIGTERM, or until its parent dies."""
    configure_logging()
    end_with(parent)
    settings, stop = load_settings(), threading.Event()
    start_cluster(settings, metrics_port=settings.scoring.metrics_port)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    prepare_data(settings)
    start_serve(settings, [*SERVICERS, f"{add_probe.__module__}.{add_probe.__name__}"])
    serve.run(application(settings, ProbedIngress), name=APPLICATION, route_prefix="/")
    stop.wait()
    stop_scoring()


if __name__ == "__main__":
    main(int(sys.argv[-1]))
