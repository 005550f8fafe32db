"""The servicer of scoring in a plain grpc.aio process, without Ray, Serve and proxy: run as a module."""

import asyncio
import sys

import grpc

from quandary.options import ScoringOptions
from quandary.v1 import scoring_pb2_grpc
from quandary_server.auth import Keyring
from quandary_server.clock import now
from quandary_server.grpc_server import GRACE, start_server, until_told_to_stop
from quandary_server.inference.generation import Generation
from quandary_server.logs import configure_logging
from quandary_server.scoring.engine import Engine
from quandary_server.scoring.frame_stream import ReadAhead
from quandary_server.scoring.gpu import device_of
from quandary_server.scoring.ingress import limits_of, queue_limit_of
from quandary_server.scoring.keeper import Keeper
from quandary_server.scoring.loading import whole_generation
from quandary_server.scoring.servicer import SERVICE, ScoringServicer
from quandary_server.scoring.work import Work
from quandary_server.settings import Settings, load_settings
from quandary_server.supervisor import end_with
from quandary_server.wire.door import Door


class Silent:
    """Counts nothing."""

    def arrived(self, kind: str, outcome: str) -> None:
        """A request was admitted or refused."""

    def begun(self, kind: str, waited_s: float, together: int) -> None:
        """A request's first turn came."""

    def dropped(self, kind: str, cause: str) -> None:
        """A request was given up."""

    def unfinished(self, kind: str, work_s: float) -> None:
        """So much work is admitted and not done."""

    def work(self, options: ScoringOptions, work: Work) -> None:
        """A request was answered."""


async def serve(settings: Settings) -> None:
    """Serve until told to stop."""
    scoring, registry = settings.scoring, settings.open_registry()
    load = whole_generation(registry, device_of(scoring))
    keeper = Keeper[Generation](registry, "plain", load, scoring.poll, now, lambda _: None)
    limits = limits_of(scoring)
    engine = Engine(limits, queue_limit_of(scoring), Silent())
    door = Door(Keyring(settings.tokens, now), lambda *_: None)
    servicer = ScoringServicer(door, keeper, engine, limits, "plain", scoring.stream_window, ReadAhead(scoring.stream_bytes))

    def add(server: grpc.aio.Server) -> None:
        scoring_pb2_grpc.add_ScoringServiceServicer_to_server(servicer, server)

    keeper.start()
    server, _ = await start_server(scoring.host, scoring.port, {SERVICE: lambda: bool(keeper.resident)}, [add])
    await until_told_to_stop()
    await server.stop(GRACE.total_seconds())
    keeper.stop()
    engine.close()


def main(parent: int) -> None:
    """Serve until SIGTERM, or until the parent dies."""
    configure_logging()
    end_with(parent)
    asyncio.run(serve(load_settings()))


if __name__ == "__main__":
    main(int(sys.argv[-1]))
