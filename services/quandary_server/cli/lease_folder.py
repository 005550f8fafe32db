"""Leased tasks as a folder in the KITTI layout: out with clouds and pre-labels, back with labels.

`leases.json` in the folder holds the tokens, so it is for its owner alone (mode 0600).
"""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from quandary import BACKGROUND, FrameLabels, InvalidArgument, Label, QuandaryError, StaleLease, Unavailable
from quandary.convert import box3d, record
from quandary.v1 import queue_pb2
from quandary_server.datasets.clouds import write_cloud
from quandary_server.datasets.files import TRAINING, training_file
from quandary_server.datasets.writing import write_labels
from quandary_server.files import write_atomically
from quandary_server.storage.blobs import file_path, read_cloud

LEASES = "leases.json"


@dataclass(frozen=True)
class Held:
    """A leased task as a file keeps it.

    prelabels, acknowledged: SHA-256 of its label file as it was written out, and as it was handed in; empty if neither was.
    """

    name: str
    frame_id: str
    token: str
    expires: str = ""
    generation: str = ""
    prelabels: str = ""
    acknowledged: str = ""


def write_leased(
    folder: Path, tasks: Sequence[queue_pb2.Task], advance: Callable[[float], None]
) -> list[tuple[queue_pb2.Task, QuandaryError]]:
    """Write the tasks' clouds, calibrations, pre-labels and tokens; return those that could not be, and why.

    Camera images come along where they can be read; a frame can be labelled without.
    """
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


def without_image(folder: Path, tasks: Iterable[queue_pb2.Task]) -> list[str]:
    """Return the frames that have a camera image by their record, and none in the folder."""
    found = [(task.frame_id, _image_files(folder, task)) for task in tasks if task.record.image_uri]
    return [frame_id for frame_id, image in found if image is None or not image[1].exists()]


def write_held(folder: Path, held: Iterable[Held]) -> None:
    """Write the folder's tokens."""
    text = json.dumps([asdict(task) for task in held], indent=1)
    write_atomically(folder / LEASES, text.encode(), mode=0o600)


def leases_file(path: Path) -> Path:
    """Return the file of leased tasks that a path names: itself, or the folder's."""
    return path / LEASES if path.is_dir() else path


def update_held(path: Path, changed: Mapping[str, Held | None]) -> None:
    """Write what tasks are now, by name, into a folder's leases.json; None: held no more. Any other file stays as it is."""
    if changed and path.name == LEASES:
        held = [changed.get(task.name, task) for task in read_held(path)]
        write_held(path.parent, [task for task in held if task is not None])


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


def held_in(folder: Path) -> list[Held]:
    """Return the leased tasks of a folder; none of one that holds no such file."""
    return read_held(folder / LEASES) if (folder / LEASES).is_file() else []


def explained(error: QuandaryError, held: Held, now: datetime) -> QuandaryError:
    """Return the error of a call with the task's lease; of one that ran out, with when it did."""
    try:
        ended = datetime.fromisoformat(held.expires)
    except ValueError:  # of a file that says nothing of it
        return error
    if not isinstance(error, StaleLease) or ended > now:
        return error
    return StaleLease(f"the lease ran out at {ended:%Y-%m-%d %H:%M:%S} UTC; {error.message}")


def untouched(folder: Path, held: Held) -> bool:
    """Return whether the task's label file is still the one with the pre-labels."""
    return bool(held.prelabels) and label_digest(folder, held.frame_id) == held.prelabels


def handed_in(folder: Path, held: Held) -> bool:
    """Return whether the task was acknowledged with the label file as it is, or with one that is gone."""
    return bool(held.acknowledged) and label_digest(folder, held.frame_id) in (held.acknowledged, "")


def label_digest(folder: Path, frame_id: str) -> str:
    """Return the SHA-256 of a frame's label file, empty where there is none."""
    path, _ = training_file(folder, "label_2", frame_id, ".txt")
    return _digest(path) if path.is_file() else ""


def strangers(folder: Path, held: Iterable[Held]) -> list[str]:
    """Return the names of what lies beside the label files and belongs to no leased task."""
    known = {f"{task.frame_id}.txt" for task in held}
    return sorted(file.name for file in (folder / TRAINING / "label_2").glob("*") if file.name not in known)


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
    if (image := _image_files(folder, task)) is not None and image[0].is_file():
        image[1].parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(*image)
    path = write_labels(folder, FrameLabels(task.frame_id, labels), frame.calibration, scores)
    return _held(task, task.generation if labels else "", _digest(path))


def _image_files(folder: Path, task: queue_pb2.Task) -> tuple[Path, Path] | None:
    """Return where the camera image is and where it goes; None where there is none, or none that is a file."""
    try:
        source = file_path(task.record.image_uri)
    except InvalidArgument:
        return None
    return source, training_file(folder, "image_2", task.frame_id, source.suffix.lower())[0]


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
