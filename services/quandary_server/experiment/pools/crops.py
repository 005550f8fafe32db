"""Labelled crops with their times, in memory and on disk."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from quandary.errors import CorruptArtefact
from quandary_server.detector.examples import Examples
from quandary_server.files import write_atomically

SPLITS = ("pool", "control", "evaluation")


@dataclass(frozen=True)
class Crops:
    """N labelled crops with the times of their frames: stamps_s (N,) in seconds on one clock."""

    examples: Examples
    stamps_s: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.examples)

    def take(self, which: NDArray[np.intp] | NDArray[np.bool_]) -> "Crops":
        """Return the crops at indices or a mask."""
        return Crops(self.examples.take(which), self.stamps_s[which])

    @staticmethod
    def joined(parts: Sequence["Crops"]) -> "Crops":
        """Return the crops of several parts, one after the other."""
        stamps = np.concatenate([np.empty(0), *(part.stamps_s for part in parts)])
        return Crops(Examples.joined([part.examples for part in parts]), stamps)


@dataclass(frozen=True)
class Pool:
    """What a replay works on, split by drive: the pool, control drives to calibrate on, evaluation drives to judge by."""

    pool: Crops
    control: Crops
    evaluation: Crops


def write_pool(path: Path, pool: Pool) -> None:
    """Write a pool as one NumPy archive, whole or not at all."""
    written = io.BytesIO()
    np.savez(written, **_arrays(pool))
    write_atomically(path, written.getvalue())


def read_pool(path: Path) -> Pool:
    """Return a pool that was written; raises CorruptArtefact, with its path, where it is torn."""
    try:
        with np.load(path) as arrays:
            return Pool(
                *(
                    Crops(
                        Examples(*(arrays[f"{split}.{field.name}"] for field in fields(Examples))), arrays[f"{split}.stamps_s"]
                    )
                    for split in SPLITS
                )
            )
    except (BadZipFile, EOFError, KeyError, ValueError) as error:
        raise CorruptArtefact(f"{path} is no pool; delete it to build it again: {type(error).__name__}") from None


def pool_digest(pool: Pool) -> str:
    """Return the SHA-256, hexadecimal, of all that a pool holds."""
    digest = hashlib.sha256()
    for name, array in _arrays(pool).items():
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _arrays(pool: Pool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for split in SPLITS:
        crops: Crops = getattr(pool, split)
        found[f"{split}.stamps_s"] = crops.stamps_s
        found |= {f"{split}.{field.name}": getattr(crops.examples, field.name) for field in fields(Examples)}
    return found
