"""Which crops show the same object: labels of neighbouring frames, linked by where their boxes stand."""

from collections.abc import Mapping
from itertools import count

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from quandary.labels import CLASSES, LABEL_CLASSES
from quandary_server.experiment.pools.crops import Crops
from quandary_server.frustum.anchor import decode_boxes

Array = NDArray[np.float64]

NEW_GATE_M, GATE_M = 3.0, 1.5
"""How far a box may stand from where its object is expected: one seen once before, one whose speed is known."""

MAX_GAP_S = 1.0
"""An object that was not seen for longer is another one when it comes again."""

BACKGROUND_ID = -1


class _Track:
    """One object, in the frame of a sensor that moves: where it was last, and how fast it went there."""

    def __init__(self, number: int, stamp_s: float, centre: Array) -> None:
        self.number, self.stamp_s, self.centre = number, stamp_s, centre
        self.speed: Array | None = None

    def expected(self, stamp_s: float) -> Array:
        return self.centre if self.speed is None else self.centre + self.speed * (stamp_s - self.stamp_s)

    @property
    def gate_m(self) -> float:
        return NEW_GATE_M if self.speed is None else GATE_M

    def seen(self, stamp_s: float, centre: Array) -> None:
        self.speed = (centre - self.centre) / (stamp_s - self.stamp_s)
        self.stamp_s, self.centre = stamp_s, centre


def distinct_objects(crops: Crops) -> NDArray[np.intp]:
    """Return the number (N,) of the object that each crop shows, -1 for Background.

    Crops of one class and drive are linked from frame to frame, each to the nearest place where an object is expected by its
    speed. Meant for frames a few tenths of a second apart; the vehicle's own motion is not known.
    """
    examples = crops.examples
    centres = np.array([box.centre for box in decode_boxes(examples.boxes.astype(np.float64), examples.anchors)]).reshape(-1, 3)
    found = np.full(len(crops), BACKGROUND_ID, np.intp)
    numbers = count()
    for drive in np.unique(examples.drives):
        for class_name in LABEL_CLASSES:
            which = np.flatnonzero((examples.drives == drive) & (examples.classes == CLASSES.index(class_name)))
            found[which] = _linked(crops.stamps_s[which], centres[which], numbers)
    return found


def distinct_counts(crops: Crops, objects: NDArray[np.intp]) -> dict[str, int]:
    """Return how many objects of each class crops with these object numbers (N,) show, classes without any left out."""
    shown = {name: np.unique(objects[crops.examples.classes == CLASSES.index(name)]) for name in LABEL_CLASSES}
    return {name: len(numbers) for name, numbers in shown.items() if len(numbers)}


def with_few_objects(
    crops: Crops, objects: NDArray[np.intp], most: Mapping[str, int], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Return a mask (N,) of the crops that show at most so many objects of each class, drawn at random, and of Background.

    A class that `most` does not name loses all its crops.
    """
    kept = np.asarray(objects == BACKGROUND_ID)
    for name in LABEL_CLASSES:
        numbers = np.unique(objects[crops.examples.classes == CLASSES.index(name)])
        drawn = rng.permutation(numbers)[: most.get(name, 0)]
        kept |= np.isin(objects, drawn)
    return kept


def _linked(stamps_s: Array, centres: Array, numbers: "count[int]") -> NDArray[np.intp]:
    """Return the object (N,) of labels of one class and drive at times (N,) and places (N, 3)."""
    found = np.empty(len(stamps_s), np.intp)
    tracks: list[_Track] = []
    for stamp_s in np.unique(stamps_s).tolist():
        tracks = [track for track in tracks if stamp_s - track.stamp_s <= MAX_GAP_S]
        seen = np.flatnonzero(stamps_s == stamp_s)
        expected = np.array([track.expected(stamp_s) for track in tracks]).reshape(-1, 3)
        distance = np.linalg.norm(centres[seen][:, None] - expected[None], axis=2)
        gates = np.array([track.gate_m for track in tracks])
        rows, columns = linear_sum_assignment(np.where(distance <= gates, distance, 1e6))
        matched: dict[int, _Track] = {}
        for own, other in zip(rows.tolist(), columns.tolist(), strict=True):
            if distance[own, other] <= gates[other]:
                matched[own] = tracks[other]
        for row, index in enumerate(seen.tolist()):
            track = matched.get(row)
            if track is None:
                track = _Track(next(numbers), stamp_s, centres[index])
                tracks.append(track)
            else:
                track.seen(stamp_s, centres[index])
            found[index] = track.number
    return found
