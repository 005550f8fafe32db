"""QueueService and LabelService as a server of their own, and frames in its queue."""

from collections.abc import Callable
from pathlib import Path

import grpc

from quandary import Box3D, Frame, LabellingClient, convert
from quandary.v1 import labels_pb2_grpc, queue_pb2, queue_pb2_grpc, scoring_pb2
from quandary_server.auth import Keyring, ensure_tokens
from quandary_server.clock import now
from quandary_server.selector.label_servicer import LabelServicer
from quandary_server.selector.queue_servicer import QueueServicer
from quandary_server.storage.store import Store
from quandary_server.storage.task_values import TaskEntry
from quandary_server.wire.door import Door
from support.grpc_thread import ServerThread
from support.records import START, log_record, record_of

GENERATION = "g000001-00000000"
CAR_BOX = Box3D(20.0, 1.0, -0.8, 4.0, 1.7, 1.5, 0.1)
CLASSES = ["Car", "Pedestrian", "Background"]


def label_file(name: str, folder: str = "out") -> Path:
    """Return the place of a frame's label file in a folder of the KITTI layout."""
    return Path(folder, "training", "label_2", f"{name}.txt")


def frame_score(frame_id: str) -> bytes:
    """Return a doubtful car and a sure background, as scoring would have answered."""
    doubt = scoring_pb2.ClassUncertainty(predictive_entropy_nats=0.8, mutual_information_nats=0.3)
    spread = scoring_pb2.BoxUncertainty(aleatoric_variance=[0.09] * 7, epistemic_variance=[0.16] * 7)
    seen = [(0.9, [0.7, 0.2, 0.1], "Car", 120), (0.1, [0.0, 0.1, 0.9], "Background", 3)]
    objects = [
        scoring_pb2.ObjectScore(
            proposal_index=index,
            score=score,
            class_probabilities=probabilities,
            predicted_class=name,
            box=convert.box3d_message(CAR_BOX),
            class_uncertainty=doubt,
            box_uncertainty=spread,
            points=points,
        )
        for index, (score, probabilities, name, points) in enumerate(seen)
    ]
    return scoring_pb2.FrameScore(score=0.5, objects=objects, class_names=CLASSES).SerializeToString()


def fill(store: Store, folder: Path, make_frame: Callable[..., Frame], frames: int = 6) -> None:
    """Log frames of a drive, f0, f1, ..., unscored in this order; their clouds lie in the folder."""
    entries = []
    for i in range(frames):
        record = record_of(make_frame(f"f{i}", seed=i), folder, at_s=i)
        entry = TaskEntry(i + 1, "active", record.frame_id, "drive", record.stamp, log_record(record).payload, 3, shuffle=i)
        entries.append(entry)
    store.intake.apply(entries, log="log", after=0, position=frames, now=START)


class State:
    """What the selector would say of itself."""

    def generation(self) -> str:
        return "g000001-00000000"

    def ranked_generation(self, queue: str) -> str:
        return "g000001-00000000"

    def lag(self) -> int:
        return 3


class Server:
    """Both servicers on a free port, on a clock that the test moves."""

    def __init__(self, store: Store, tokens: Path) -> None:
        self.store, self.tokens, self.time = store, tokens, START
        self.token = ensure_tokens(tokens)
        door = Door(Keyring(tokens, now), lambda *_: None)
        queues = QueueServicer(door, store, State(), lambda: self.time)
        labels = LabelServicer(door, store, lambda: self.time)

        def register(server: grpc.aio.Server) -> None:
            queue_pb2_grpc.add_QueueServiceServicer_to_server(queues, server)
            labels_pb2_grpc.add_LabelServiceServicer_to_server(labels, server)

        self._server = ServerThread(register, {"quandary.v1.QueueService": lambda: True})
        self.target, self.stop = self._server.target, self._server.stop

    def client(self, token: str | None = None) -> LabellingClient:
        return LabellingClient(self.target, token=self.token if token is None else token)

    def task(self, name: str) -> queue_pb2.Task:
        """Return a task of the queue `active`."""
        with self.client() as client:
            return client.get_task(f"queues/active/tasks/{name}")
