"""A scoring service that costs next to nothing, as a process: run as a module.

What is measured is who asks. So the untrained generation of the registry scores one frame of so many proposals, as the
selector asks for it, and its FrameScore answers for all others of as many: as long as a real one, with objects and embeddings.
"""

import asyncio
import sys

import grpc

from quandary.v1 import scoring_pb2_grpc
from quandary_server.bench.stream.answering_servicer import AnsweringServicer
from quandary_server.grpc_server import GRACE, start_server, until_told_to_stop
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.inference.provider import Provider
from quandary_server.settings import Settings, load_settings
from quandary_server.supervisor import end_with

SERVICE = "quandary.v1.ScoringService"


async def serve(settings: Settings) -> None:
    """Serve the newest generation of the registry until told to stop."""
    registry = settings.open_registry()
    generation = LoadedGeneration(registry.load(registry.generations()[-1]), Provider.CPU)
    servicer = AnsweringServicer(generation)

    def add(server: grpc.aio.Server) -> None:
        scoring_pb2_grpc.add_ScoringServiceServicer_to_server(servicer, server)

    server, _ = await start_server(settings.scoring.host, settings.scoring.port, {SERVICE: lambda: True}, [add])
    await until_told_to_stop()
    await server.stop(GRACE.total_seconds())


def main(parent: int) -> None:
    """Serve until SIGTERM, or until the parent dies."""
    end_with(parent)
    asyncio.run(serve(load_settings()))


if __name__ == "__main__":
    main(int(sys.argv[-1]))
