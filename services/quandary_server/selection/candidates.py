"""What a query picks from, and what it keeps its distance to."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from quandary_server.selection.objects import Objects

NO_OBJECTS = Objects.none(0)
TABLES = ("embeddings", "class_shares", "positions_m", "tags")


@dataclass(frozen=True, eq=False)
class Candidates:
    """N scored frames, or single crops, that wait for a label.

    ids (N,): distinct. drives (N,). stamps_s (N,): seconds on one clock. scores (N,): higher is asked for first.
    embeddings (N, E): a row of zeros is unknown. class_shares (N, C): expected number of objects of each class, Background
    last; of a single crop its mean class probabilities. seconds (N,): of labelling work. objects: of the frames, where known.
    positions_m (N, 3): of the LiDAR in the drive's frame; a row of NaN, or None for all, is unknown. tags (N, K): values of the
    tags that the plan looks at (`QueryPlan.tag_keys`), empty where a frame has none; None: it looks at none.
    read_objects: returns the objects of frames by id (K,), as frames 0, 1, ...; where embeddings of all objects would take much
    memory, and `objects` has none of them. None: it has them.
    Raises ValueError naming the field for a wrong shape, a value that is not finite or below 0, or an id given twice.
    """

    ids: NDArray[np.str_]
    drives: NDArray[np.str_]
    stamps_s: NDArray[np.float64]
    scores: NDArray[np.float64]
    embeddings: NDArray[np.float32]
    class_shares: NDArray[np.float64]
    seconds: NDArray[np.float64]
    objects: Objects = field(default=NO_OBJECTS)
    positions_m: NDArray[np.float64] | None = None
    tags: NDArray[np.str_] | None = None
    read_objects: Callable[[NDArray[np.str_]], Objects] | None = None

    def __post_init__(self) -> None:
        _check_rows(self, len(self.ids), tables=TABLES)
        _check_objects(self.objects, len(self.ids))
        _check_finite(self, "stamps_s", "scores", "embeddings", "class_shares", "seconds")
        for name in ("class_shares", "seconds"):
            if np.any(getattr(self, name) < 0):
                raise ValueError(f"{name} must be >= 0, the least is {getattr(self, name).min()}")
        if len(np.unique(self.ids)) < len(self.ids):
            raise ValueError("ids must be distinct")

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, which: NDArray[np.intp]) -> Self:
        """Return the candidates at indices (K,), in that order; raises ValueError for one given twice."""
        rows = {name: getattr(self, name)[which] for name in _rows_of(self)}
        return replace(self, **rows, objects=self.objects.take(which))

    def with_objects(self) -> Self:
        """Return the candidates with the embeddings of their objects."""
        if self.read_objects is None:
            return self
        return replace(self, objects=self.read_objects(self.ids), read_objects=None)


@dataclass(frozen=True, eq=False)
class Taken:
    """M frames or crops that are labelled or leased already; M may be 0.

    drives (M,), stamps_s (M,) in seconds on the candidates' clock, embeddings (M, E), a row of zeros unknown. leased (M,):
    in work, not labelled yet. folds (M,): taken for what the newest generation made of them, so that near copies are not asked
    for. None for either: none is. objects, positions_m, class_shares, tags as of candidates; None: not known.
    Raises ValueError naming the field for a wrong shape or a value that is not finite.
    """

    drives: NDArray[np.str_]
    stamps_s: NDArray[np.float64]
    embeddings: NDArray[np.float32]
    leased: NDArray[np.bool_] | None = None
    folds: NDArray[np.bool_] | None = None
    objects: Objects = field(default=NO_OBJECTS)
    positions_m: NDArray[np.float64] | None = None
    class_shares: NDArray[np.float64] | None = None
    tags: NDArray[np.str_] | None = None

    def __post_init__(self) -> None:
        _check_rows(self, len(self.drives), tables=TABLES)
        _check_objects(self.objects, len(self.drives))
        _check_finite(self, "stamps_s", "embeddings")

    @classmethod
    def nothing(cls, embedding_size: int) -> Self:
        """Return what is taken before the first label."""
        return cls(np.empty(0, np.str_), np.empty(0), np.empty((0, embedding_size), np.float32))

    def __len__(self) -> int:
        return len(self.drives)

    def that_are(self, name: str) -> Self:
        """Return those that are `leased`, or that have `folds`."""
        which = getattr(self, name)
        return self.take(np.zeros(len(self), np.bool_) if which is None else which)

    def take(self, which: NDArray[np.bool_]) -> Self:
        """Return the taken of a mask (M,)."""
        rows = {name: getattr(self, name)[which] for name in _rows_of(self)}
        return replace(self, **rows, objects=self.objects.take(np.flatnonzero(which)))


def _rows_of(value: Any) -> list[str]:
    """Return the names of the fields that have a row for each frame."""
    apart = ("objects", "read_objects")
    return [f.name for f in fields(value) if f.name not in apart and getattr(value, f.name) is not None]


def _check_rows(value: Any, rows: int, tables: tuple[str, ...]) -> None:
    for name in _rows_of(value):
        shape = np.shape(getattr(value, name))
        ndim = 2 if name in tables else 1
        if len(shape) != ndim or shape[0] != rows:
            raise ValueError(f"{name} must have {ndim} axes and {rows} rows, its shape is {shape}")


def _check_objects(objects: Objects, frames: int) -> None:
    if len(objects) and objects.frames[-1] >= frames:
        raise ValueError(f"objects.frames must be below the {frames} frames, the last is {objects.frames[-1]}")


def _check_finite(value: Any, *names: str) -> None:
    for name in names:
        if not np.isfinite(getattr(value, name)).all():
            raise ValueError(f"{name} must be finite")
