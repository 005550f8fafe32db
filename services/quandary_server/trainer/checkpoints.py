"""How far the members of a run are, in files: whoever goes on with the run goes on from there."""

import hashlib
import json
import logging
import shutil
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from quandary_server.detector.examples import Examples
from quandary_server.detector.settings import FitSettings, NetSettings
from quandary_server.files import write_atomically

SLOTS = 2
"""Files of a member, written in turn: where the newest is torn there is the one before."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A member on its way, or done: its steps, and the state of its fit or, once `finished`, its ONNX bytes.

    loss: the last mean loss. parity: the largest difference between the ONNX model and torch.
    """

    step: int
    loss: float
    body: bytes
    finished: bool = False
    parity: float = 0.0


class Checkpoints:
    """The checkpoints of one run below a folder. Each says of what fit it is: no other fit goes on from it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._turns: dict[int, int] = {}

    def newest(self, member: int, fit: str) -> Checkpoint | None:
        """Return a member's newest checkpoint of this fit, None where there is none; torn ones are passed over."""
        found = [self._read(self._path(member, slot), fit) for slot in range(SLOTS)]
        best = max((c for c in found if c is not None), key=lambda c: (c.finished, c.step), default=None)
        if best is not None:
            # the next one goes over the older
            self._turns[member] = found.index(best) + 1
        return best

    def write(self, member: int, fit: str, checkpoint: Checkpoint) -> None:
        """Write a member's checkpoint, whole or not at all; where there is no room that is logged: the fit goes on without."""
        turn = self._turns.get(member, 0)
        head = {name: value for name, value in asdict(checkpoint).items() if name != "body"}
        head |= {"fit": fit, "digest": hashlib.sha256(checkpoint.body).hexdigest()}
        # not synced: what a power cut tears fails its digest
        data = json.dumps(head).encode() + b"\n" + checkpoint.body
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path(member, turn % SLOTS), data, durable=False)
        except OSError as error:
            log.warning("checkpoint_not_written folder=%s member=%d problem=%s", self._folder, member, error.strerror)
            return
        self._turns[member] = turn + 1

    def remove(self) -> None:
        """Remove them all, with the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, member: int, slot: int) -> Path:
        return self._folder / f"member-{member}.{slot}"

    def _read(self, path: Path, fit: str) -> Checkpoint | None:
        try:
            head, _, body = path.read_bytes().partition(b"\n")
            found: dict[str, Any] = json.loads(head)
            digest = found.pop("digest")
            if found.pop("fit") != fit or digest != hashlib.sha256(body).hexdigest():
                return None
            return Checkpoint(body=body, **found)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None


def examples_digest(examples: Examples) -> str:
    """Return the SHA-256, hexadecimal, of what a fit sees of examples: 28 kB a crop, so it is taken once for all members."""
    digest = hashlib.sha256()
    for array in (examples.maps, examples.geometry, examples.classes, examples.boxes):
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def fit_digest(examples: str, net: NetSettings, fit: FitSettings, seed: int, start: bytes = b"") -> str:
    """Return the SHA-256, hexadecimal, of all that a member follows from.

    examples: their digest. start: the model that it begins with. Another version of Quandary goes on from none of this one's.
    """
    recipe = {"net": net.model_dump(mode="json"), "fit": fit.model_dump(mode="json"), "seed": seed, "examples": examples}
    made_by = {"torch": torch.__version__, "quandary": version("quandary")}
    digest = hashlib.sha256(json.dumps(recipe | made_by, sort_keys=True).encode())
    digest.update(start)
    return digest.hexdigest()
