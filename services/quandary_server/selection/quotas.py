"""Quotas: which share of what a generation asks for may be, or shall be, of one class, drive or tag."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from quandary_server.selection.balance import stands_for

NO_GROUP = -1


@dataclass(frozen=True, slots=True)
class Quota:
    """Of every start of the asked at least `least` and at most `most`, as shares, are of a group; 0 and 1 bind nothing.

    Raises ValueError naming the field unless 0 <= least <= most <= 1.
    """

    least: float = 0.0
    most: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.least <= self.most:
            raise ValueError(f"least is {self.least}, must be 0 to most, {self.most}")
        if not self.most <= 1:
            raise ValueError(f"most is {self.most}, must be 0 to 1")

    def due(self, asked: int) -> int:
        """Return how many of so many must be of the group."""
        return math.floor(self.least * asked + 1e-9)

    def room(self, asked: int) -> int:
        """Return how many of so many may be of the group."""
        return math.ceil(self.most * asked - 1e-9)


@dataclass(frozen=True, slots=True)
class ClassQuota(Quota):
    """Of frames that stand for a class, as the class floor has it; index: of the class, None: each class by itself."""

    index: int | None = None


@dataclass(frozen=True, slots=True)
class DriveQuota(Quota):
    """Of frames of drives; pattern: of their ids, as a shell's, all that match together. None: each drive by itself."""

    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class TagQuota(Quota):
    """Of frames whose tag `key` has a value; None: each value by itself. Without the tag a frame is in none."""

    key: str = ""
    value: str | None = None


@dataclass(frozen=True, eq=False)
class Traits:
    """What quotas look at of N frames: drives (N,), class_shares (N, C), tags by key (N,), empty for none."""

    drives: NDArray[np.str_]
    class_shares: NDArray[np.float64]
    tags: Mapping[str, NDArray[np.str_]]


def groups(quota: Quota, frames: Traits) -> NDArray[np.intp]:
    """Return the groups (N, Q) that a quota puts frames into, numbered in each column, -1 for none; a frame may be of several
    classes, so that each class has a column. Raises ValueError for a class that there is not, and for a key without values.
    """
    match quota:
        case ClassQuota():
            return _class_groups(quota.index, frames.class_shares)
        case DriveQuota(pattern=None):
            return _each(frames.drives)[:, None]
        case DriveQuota(pattern=str(pattern)):
            known, of = np.unique(frames.drives, return_inverse=True)
            matching = np.array([fnmatchcase(drive, pattern) for drive in known.tolist()], np.bool_)
            return _where(matching[of])
        case TagQuota():
            if quota.key not in frames.tags:
                raise ValueError(f"tags must have {quota.key}, they have {', '.join(frames.tags) or 'none'}")
            values = frames.tags[quota.key]
            return (
                np.where(values == "", NO_GROUP, _each(values))[:, None]
                if quota.value is None
                else _where(values == quota.value)
            )
    raise ValueError(f"{quota} is of no kind")


def _class_groups(index: int | None, class_shares: NDArray[np.float64]) -> NDArray[np.intp]:
    stands = stands_for(class_shares)
    if index is None:
        return np.where(stands, 0, NO_GROUP)
    if not 0 <= index < stands.shape[1]:
        raise ValueError(f"index is {index}, must be of a class but Background: 0 to {stands.shape[1] - 1}")
    return _where(stands[:, index])


def _where(inside: NDArray[np.bool_]) -> NDArray[np.intp]:
    return np.where(inside, 0, NO_GROUP)[:, None]


def _each(values: NDArray[np.str_]) -> NDArray[np.intp]:
    return np.asarray(np.unique(values, return_inverse=True)[1], np.intp).reshape(-1)
