"""The scoring service with replicas that load at unequal times: run as a module, in place of `quandary scoring`."""

import signal
import sys
import threading
import time
from itertools import count
from pathlib import Path
from typing import TypeVar

from ray import serve

from quandary_server.cluster import start_cluster
from quandary_server.inference.generation import Generation
from quandary_server.logs import configure_logging
from quandary_server.registry.place import RegistryPlace
from quandary_server.scoring.app import APPLICATION, application, prepare_data
from quandary_server.scoring.ingress import ScoringIngress
from quandary_server.scoring.keeper import Held, Load
from quandary_server.scoring.loading import HeldMember
from quandary_server.scoring.member_replica import MemberReplica
from quandary_server.scoring.service import start_serve, stop_scoring
from quandary_server.settings import load_settings
from quandary_server.supervisor import end_with

DELAYS_S = (0.0, 0.8, 0.3)
"""What loading takes longer, of the first replica that starts, the second and the third, and so on in turns."""

H = TypeVar("H", bound=Held)


class DelayedIngress(ScoringIngress):
    """A replica that takes longer to load than others."""

    def loading(self, load: Load[Generation], registry: RegistryPlace) -> Load[Generation]:
        """Return the load after this replica's delay."""
        return delayed(load, registry)


class DelayedMember(MemberReplica):
    """A member's replica that takes longer to load than others."""

    def loading(self, load: Load[HeldMember], registry: RegistryPlace) -> Load[HeldMember]:
        """Return the load after this replica's delay."""
        return delayed(load, registry)


def delayed(load: Load[H], registry: RegistryPlace) -> Load[H]:
    """Return the load after a delay, another one for each that asks; files beside the registry tell which are taken."""
    delay_s = DELAYS_S[next(k for k in count() if _claimed(registry.directory / f"delay-{k}")) % len(DELAYS_S)]

    def slowly(generation: str, digest: str | None) -> H:
        time.sleep(delay_s)
        return load(generation, digest)

    return slowly


def _claimed(place: Path) -> bool:
    try:
        place.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def main(parent: int) -> None:
    """Run the service until SIGTERM, or until its parent dies."""
    configure_logging()
    end_with(parent)
    settings, stop = load_settings(), threading.Event()
    start_cluster(settings, metrics_port=settings.scoring.metrics_port)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    prepare_data(settings)
    start_serve(settings)
    serve.run(application(settings, DelayedIngress, DelayedMember), name=APPLICATION, route_prefix="/")
    stop.wait()
    stop_scoring()


if __name__ == "__main__":
    main(int(sys.argv[-1]))
