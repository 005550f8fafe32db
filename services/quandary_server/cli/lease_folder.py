"""Leased tasks as a folder in the KITTI layout: out with clouds and pre-labels, back with labels.

`leases.json` in the folder holds the tokens, so it is for its owner alone (mode 0600).
"""

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from quandary import BACKGROUND, FrameLabels, InvalidArgument, Label, QuandaryError, Unavailable
from quandary.convert import box3d, record
from quandary.v1 import queue_pb2
from quandary_server.datasets.clouds import write_cloud
from quandary_server.datasets.files import training_file
from quandary_server.datasets.writing import write_labels
from quandary_server.files import write_atomically
from quandary_server.storage.blobs import read_cloud

LEASES = "leases.json"


@dataclass(frozen=True)
class Held:
    """A leased task as a file keeps it; prelabels: SHA-256 of its label file as it was written out, empty if none was."""

    name: str
    frame_id: str
    token: str
    expires: str = ""
    generation: str = ""
    prelabels: str = ""


def write_leased(
    folder: Path, tasks: Sequence[queue_pb2.Task], advance: Callable[[float], None]
) -> list[tuple[queue_pb2.Task, QuandaryError]]:
    """Write the tasks' clouds, calibrations and pre-labels, and their tokens; return those that could not be, and why."""
    write_held(folder, map(_held, tasks))  # before all that may go wrong: a token that is lost holds its task up
    held, failed = [], []
    for done, task in enumerate(tasks, start=1):
        try:
            held.append(_write_task(folder, task))
        except QuandaryError as error:
            failed.append((task, error))
        except OSError as error:
            failed.append((task, Unavailable(f"{error.filename}: {error.strerror}")))
        advance(done)
    write_held(folder, held)
    return failed


def write_held(folder: Path, held: Iterable[Held]) -> None:
    """Write the folder's tokens."""
    text = json.dumps([asdict(task) for task in held], indent=1)
    write_atomically(folder / LEASES, text.encode(), mode=0o600)


def read_held(path: Path) -> list[Held]:
    """Return the leased tasks of a leases.json, or of what `queue lease --json` printed; - is stdin.

    Raises InvalidArgument for a file that is neither.
    """
    try:
        match json.loads(sys.stdin.read() if str(path) == "-" else path.read_text()):
            case [*tasks]:
                return [_held_of(task) for task in tasks]
    except (ValueError, RecursionError, TypeError):
        pass
    raise InvalidArgument.of("--leased", str(path), "what `quandary queue lease --json` printed")


def untouched(folder: Path, held: Held) -> bool:
    """Return whether the task's label file is still the one with the pre-labels."""
    return bool(held.prelabels) and _digest(training_file(folder, "label_2", held.frame_id, ".txt")[0]) == held.prelabels


def prelabels(task: queue_pb2.Task) -> tuple[list[Label], list[float]]:
    """Return what the detector takes for objects, and the probability of each one's class; Background is left out."""
    labels, scores = [], []
    for found in task.frame_score.objects:
        if found.predicted_class == BACKGROUND or not found.HasField("box"):
            continue
        try:
            label = Label(found.predicted_class, box3d(found.box))
        except InvalidArgument:  # of an upstream score, which nobody held to our bounds
            continue
        labels.append(label)
        scores.append(max(found.class_probabilities, default=0.0))
    return labels, scores


def _write_task(folder: Path, task: queue_pb2.Task) -> Held:
    frame = record(task.record)
    labels, scores = prelabels(task)
    write_cloud(training_file(folder, "velodyne", task.frame_id, ".bin")[0], read_cloud(frame.cloud_uri))
    path = write_labels(folder, FrameLabels(task.frame_id, labels), frame.calibration, scores)
    return _held(task, task.generation if labels else "", _digest(path))


def _held(task: queue_pb2.Task, generation: str = "", digest: str = "") -> Held:
    expires = task.lease.expire_time.ToJsonString()
    return Held(task.name, task.frame_id, task.lease.token, expires, generation, digest)


def _held_of(task: object) -> Held:
    match task:
        case {"name": str(name), "frame_id": str(frame_id), "lease": {"token": str(token)}}:
            return Held(name, frame_id, token)
        case {"name": str(), "frame_id": str(), "token": str(), **rest} if all(isinstance(v, str) for v in rest.values()):
            return Held(**task)  # type: ignore[arg-type]
    raise ValueError("no leased task")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
