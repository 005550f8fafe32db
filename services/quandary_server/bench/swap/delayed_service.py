"""The scoring service with replicas that load at unequal times: run as a module, in place of `quandary scoring`."""

import sys
import time
from itertools import count
from pathlib import Path
from typing import TypeVar

from quandary_server.bench.changed_service import serve_changed
from quandary_server.inference.generation import Generation
from quandary_server.registry.place import RegistryPlace
from quandary_server.scoring.ingress import ScoringIngress
from quandary_server.scoring.keeper import Held, Load
from quandary_server.scoring.loading import HeldMember
from quandary_server.scoring.member_replica import MemberReplica

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


if __name__ == "__main__":
    serve_changed(int(sys.argv[-1]), DelayedIngress, DelayedMember)
