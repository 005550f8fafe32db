"""A scoring service without Ray: the real servicer, keeper and engine behind a real gRPC server on a free port."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc

from quandary import Estimator, ScoringClient, ScoringOptions
from quandary.v1 import scoring_pb2_grpc
from quandary_server.auth import Keyring, ensure_tokens
from quandary_server.clock import now
from quandary_server.inference.generation import Generation
from quandary_server.inference.provider import Provider
from quandary_server.registry.directory import Artefacts, Registry
from quandary_server.registry.manifest import Manifest, member_name
from quandary_server.registry.pointer import Pointer
from quandary_server.scoring.admission import QueueLimit
from quandary_server.scoring.batch import BatchLimit
from quandary_server.scoring.cost import Load as CostLoad
from quandary_server.scoring.engine import Engine
from quandary_server.scoring.frame_stream import ReadAhead
from quandary_server.scoring.keeper import Keeper
from quandary_server.scoring.loading import whole_generation
from quandary_server.scoring.open_inference.servicer import INFERENCE_SERVICE, OpenInferenceServicer
from quandary_server.scoring.schedule import Part, Terms
from quandary_server.scoring.servicer import SERVICE, ScoringServicer
from quandary_server.scoring.work import Work
from quandary_server.trainer.promotion import wait_for_replicas
from quandary_server.wire.door import Door
from quandary_server.wire.frames import Limits
from quandary_server.wire.inference_v2 import open_inference_pb2_grpc
from support.counted import Drawn, counted
from support.gates import Gate
from support.grpc_thread import ServerThread

LIMITS = Limits(max_frames=8, max_proposals=6, max_crops=30, max_points=5000, max_message_bytes=64 << 20)
WINDOW = 4
QUEUE = QueueLimit(service_times=2.0, least_s=5.0)


def register(registry: Registry, artefacts: Artefacts, temperature: float | None = None) -> str:
    """Register a generation, another one for every call, of another temperature if so asked; return its id."""
    members = {member_name(k): member for k, member in enumerate(artefacts.members)}

    def describe(number: int, name: str, files: dict[str, str]) -> Manifest:
        own = artefacts.manifest.temperature if temperature is None else temperature
        update = {"number": number, "generation": name, "files": files, "temperature": own}
        return artefacts.manifest.model_copy(update=update)

    return registry.register(members, describe).generation


class Told:
    """What an engine told its observer: what arrived and was dropped, what answers were made of, and the work unfinished."""

    def __init__(self) -> None:
        self.arrivals: Counter[tuple[str, str]] = Counter()
        self.drops: Counter[tuple[str, str]] = Counter()
        self.waits: list[tuple[str, float]] = []
        self.together: Counter[int] = Counter()
        self.frames = 0
        self.crops: Counter[Estimator] = Counter()
        self.escalated = 0
        self.unfinished_s: dict[str, float] = {}

    def arrived(self, kind: str, outcome: str) -> None:
        self.arrivals[kind, outcome] += 1

    def begun(self, kind: str, waited_s: float, together: int) -> None:
        self.waits.append((kind, waited_s))
        self.together[together] += 1

    def dropped(self, kind: str, cause: str) -> None:
        self.drops[kind, cause] += 1

    def unfinished(self, kind: str, work_s: float) -> None:
        self.unfinished_s[kind] = work_s

    def work(self, options: ScoringOptions, work: Work) -> None:
        self.frames += work.scored + work.refused
        self.crops[options.estimator] += work.crops
        self.escalated += work.escalated


class ScoringService:
    """One replica and its registry, told from a test's thread."""

    def __init__(
        self,
        home: Path,
        generation: Artefacts,
        queue: QueueLimit = QUEUE,
        limits: Limits = LIMITS,
        batching: BatchLimit | None = None,
        registry: Registry | None = None,
    ) -> None:
        self._generation, self._limits = generation, limits
        self.root = home / "registry"
        self.registry = registry or Registry(self.root)
        self.token = ensure_tokens(home / "tokens.json")
        self.tokens = home / "tokens.json"
        self.calls: list[tuple[str, str]] = []
        self.loaded: list[int | None] = []
        self.reached: list[bool] = []
        self.drawn = Drawn()
        load = counted(whole_generation(self.registry, Provider.CPU), self.drawn)
        self.beating = threading.Event()
        self.keeper = Keeper[Generation](
            self.registry,
            "replica-1",
            load,
            timedelta(milliseconds=20),
            now,
            self.loaded.append,
            beating=self.beating.set,
            reached=self.reached.append,
        )
        self.told = Told()
        self.engine = Engine(limits, queue, self.told, batching=batching)

    def start(self, port: int = 0) -> None:
        """Load what is current, and serve."""
        self.keeper.start()
        door = Door(Keyring(self.tokens, now), lambda method, code, _: self.calls.append((method, code)))
        servicer = ScoringServicer(door, self.keeper, self.engine, self._limits, "replica-1", WINDOW, ReadAhead(64 << 20))
        open_inference = OpenInferenceServicer(door, self.keeper, self.engine, self._limits)

        def register(server: grpc.aio.Server) -> None:
            scoring_pb2_grpc.add_ScoringServiceServicer_to_server(servicer, server)
            open_inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(open_inference, server)

        services = dict.fromkeys((SERVICE, INFERENCE_SERVICE), lambda: bool(self.keeper.resident))
        self._server = ServerThread(register, services, port)
        self.target = self._server.target

    def stop(self) -> None:
        """End it."""
        self._server.stop()
        self.keeper.stop()
        self.engine.close()

    def register(self, temperature: float | None = None) -> str:
        """Register the generation, another one for every call."""
        return register(self.registry, self._generation, temperature)

    def promote(self, generation: str) -> Pointer:
        """Promote a generation and wait until the replica answers with it."""
        pointer = self.registry.promote(generation, self.registry.pointer(), datetime.now(UTC), "test")
        self.wait_for(generation)
        return pointer

    def wait_for(self, generation: str) -> None:
        """Wait until the roster says that the replica answers with the generation."""
        assert wait_for_replicas(self.registry, generation, timedelta(seconds=20), now) == ["replica-1"]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the compute thread, by a stream's work, while the body runs."""
        gate = Gate()
        load = CostLoad(Estimator.SOFTMAX, frames=1, crops=0, points=0, passes=1, samples=1)
        held = self._server.begin(self.engine.schedule.run([Part(gate, load, lambda _: False)], Terms(flow="held")))
        gate.wait_until_begun()
        try:
            yield
            # what was told to be admitted may still be on its way into the queue
            self._server.begin(asyncio.sleep(0)).result(timeout=30)
        finally:
            gate.open()
            held.result(timeout=30)

    def client(self, token: str | None = None) -> ScoringClient:
        return ScoringClient(self.target, token=self.token if token is None else token)
