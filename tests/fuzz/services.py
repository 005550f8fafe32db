"""All services in this process, each with its real servicers behind a real gRPC server."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import grpc
from fuzz.attempts import Attacker, Method
from fuzz.seeds import (
    health_methods,
    inference_methods,
    label_methods,
    queue_methods,
    reflection_methods,
    scoring_methods,
    training_methods,
)
from support.grpc_thread import ServerThread
from support.records import START, log_record, record_of, some_labels
from support.scoring import ScoringService

from quandary import Frame, LabellingClient
from quandary.connection import MAX_MESSAGE_BYTES
from quandary.convert import frame_labels_message
from quandary.v1 import labels_pb2_grpc, queue_pb2, queue_pb2_grpc, training_pb2_grpc
from quandary_server.auth import Keyring
from quandary_server.clock import now
from quandary_server.registry.directory import Artefacts, Registry
from quandary_server.registry.manifest import Manifest, member_name
from quandary_server.selector.label_servicer import LabelServicer
from quandary_server.selector.queue_servicer import QueueServicer
from quandary_server.settings import load_settings
from quandary_server.storage.run_values import RunState, RunTrigger
from quandary_server.storage.store import Store
from quandary_server.storage.task_values import TaskEntry
from quandary_server.trainer.scheduler import Scheduler
from quandary_server.trainer.servicer import TrainingServicer
from quandary_server.wire.door import Door

TASKS = 40
QUEUES = "quandary.v1.QueueService"
CHANNEL = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]


class SelectorState:
    """What the selector would say of itself."""

    def generation(self) -> str:
        return "g000001-00000000"

    def ranked_generation(self, queue: str) -> str:
        return ""

    def lag(self) -> int:
        return 0


class AllServices:
    """Scoring, selector and trainer, and valid requests to each of their methods."""

    def __init__(self, home: Path, generation: Artefacts, frames: list[Frame]) -> None:
        self._open = ExitStack()
        self.scoring = ScoringService(home / "scoring", generation)
        self.scoring.start()
        self._open.callback(self.scoring.stop)
        self.scoring.promote(self.scoring.register())
        self._door = Door(Keyring(self.scoring.tokens, now), lambda *_: None)
        self._settings = load_settings(data=home / "data")
        self._settings.data.mkdir()
        self._store = self._open.enter_context(Store.open(self._settings.database))
        selector = self._selector(frames, home / "clouds")
        registry = self._settings.open_registry()
        trainer = self._trainer(registry)
        self.targets = {
            "quandary.v1.ScoringService": self.scoring.target,
            "inference.GRPCInferenceService": self.scoring.target,
            QUEUES: selector,
            "quandary.v1.LabelService": selector,
            "quandary.v1.TrainingService": trainer,
            "grpc.health.v1.Health": selector,
            "grpc.reflection.v1alpha.ServerReflection": selector,
        }
        labels = frame_labels_message(some_labels("f0"))
        name = self._promoted(registry, generation)
        with LabellingClient(selector, token=self.scoring.token) as client:
            queue = queue_methods(lambda: client.lease_tasks()[0], labels, self._page_token(selector))
        self.methods: dict[str, list[Method]] = {
            "scoring": scoring_methods(frames),
            "open inference": inference_methods(frames[0]),
            "selector": [*queue, *label_methods(labels)],
            "trainer": training_methods(self._finished_run(), name),
            "open to all": [*health_methods(QUEUES), *reflection_methods()],
        }

    def attacker(self) -> Attacker:
        """Return who makes attempts at them."""
        channels = {target: grpc.insecure_channel(target, CHANNEL) for target in set(self.targets.values())}
        for channel in channels.values():
            self._open.callback(channel.close)
        return Attacker({service: channels[target] for service, target in self.targets.items()}, self.scoring.token)

    def stop(self) -> None:
        """End them."""
        self._open.close()

    def _selector(self, frames: list[Frame], clouds: Path) -> str:
        records = [record_of(replace(frames[0], frame_id=f"f{i}"), clouds, at_s=i) for i in range(TASKS)]
        entries = [
            TaskEntry(i + 1, "active", record.frame_id, "drive", record.stamp, log_record(record).payload, 2, shuffle=i)
            for i, record in enumerate(records)
        ]
        self._store.intake.apply(entries, log="log", after=0, position=TASKS, now=START)
        queues = QueueServicer(self._door, self._store, SelectorState(), now)
        labels = LabelServicer(self._door, self._store, now)

        def register(server: grpc.aio.Server) -> None:
            queue_pb2_grpc.add_QueueServiceServicer_to_server(queues, server)
            labels_pb2_grpc.add_LabelServiceServicer_to_server(labels, server)

        return self._served(ServerThread(register, {QUEUES: self._store.answers}))

    def _trainer(self, registry: Registry) -> str:
        scheduler = Scheduler(self._store, registry, self._settings, now, lambda _: None)
        servicer = TrainingServicer(self._door, self._store, registry, scheduler, now)

        def register(server: grpc.aio.Server) -> None:
            training_pb2_grpc.add_TrainingServiceServicer_to_server(servicer, server)

        return self._served(ServerThread(register, {}))

    def _served(self, server: ServerThread) -> str:
        self._open.callback(server.stop)
        return server.target

    def _page_token(self, selector: str) -> str:
        request = queue_pb2.ListTasksRequest(queue="queues/active", page_size=1)
        with grpc.insecure_channel(selector) as channel:
            metadata = (("authorization", f"Bearer {self.scoring.token}"),)
            return queue_pb2_grpc.QueueServiceStub(channel).ListTasks(request, metadata=metadata).next_page_token

    def _finished_run(self) -> str:
        run = self._store.runs.create(trigger=RunTrigger.CALL, now=now())
        return self._store.runs.finish(run.id, RunState.FAILED, now=now(), error="made up").id

    def _promoted(self, registry: Registry, generation: Artefacts) -> str:
        def describe(number: int, name: str, files: dict[str, str]) -> Manifest:
            return generation.manifest.model_copy(update={"number": number, "generation": name, "files": files})

        members = {member_name(k): member for k, member in enumerate(generation.members)}
        name = registry.register(members, describe).generation
        registry.promote(name, None, now(), "test")
        return name
