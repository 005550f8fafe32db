"""How generations do on the control drives' labels, as these come back."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from quandary.errors import QuandaryError, Unavailable
from quandary.options import ScoringOptions
from quandary_server.detector.examples import Examples
from quandary_server.inference.generation import Generation, LoadedGeneration
from quandary_server.inference.provider import Provider
from quandary_server.inference.scores import score_rasters
from quandary_server.registry.directory import Registry
from quandary_server.storage.label_values import LabelledFrame
from quandary_server.storage.store import Store
from quandary_server.trainer.falling import MIN_CROPS, PairedCrops
from quandary_server.trainer.labelled import examples_of_frame
from quandary_server.uncertainty.calibration import expected_calibration_error, negative_log_likelihoods
from quandary_server.uncertainty.entropy import entropy
from quandary_server.uncertainty.sparsification import sparsify

Array = NDArray[np.float64]

MIN_ERRORS = 20
"""An AUSE of fewer wrong classes is undetermined."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judged:
    """A generation's answers on N crops: NLL (N,), class probabilities (N, C), predictive entropy (N,), 1 where wrong (N,)."""

    nll: Array
    probs: Array
    entropy: Array
    wrong: Array
    classes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.nll)

    def take(self, which: slice) -> "Judged":
        """Return those of a slice."""
        return Judged(self.nll[which], self.probs[which], self.entropy[which], self.wrong[which], self.classes[which])

    def figures(self) -> dict[str, float]:
        """Return NLL, ECE, AUSE and the count; those that are undetermined are left out, and never NaN."""
        found = {"crops": float(len(self))}
        if len(self) < MIN_CROPS:
            return found
        found |= {"nll": float(self.nll.mean()), "ece": expected_calibration_error(self.probs, self.classes)}
        if self.wrong.sum() >= MIN_ERRORS:
            found["ause"] = sparsify(self.wrong, self.entropy).ause
        return {name: value for name, value in found.items() if isfinite(value)}


@dataclass
class _Frame:
    labelled: LabelledFrame
    examples: Examples
    judged: dict[str, Judged]


class LiveQuality:
    """The newest labelled control frames, judged for the generations asked for; each frame once for each of these."""

    def __init__(self, store: Store, registry: Registry, options: ScoringOptions, side: int, frames: int) -> None:
        self._labels, self._registry = store.labels, registry
        self._options, self._side, self._limit = options, side, frames
        self._seen, self._frames = 0, dict[tuple[str, int], _Frame]()
        self._loaded: dict[str, LoadedGeneration] = {}
        self._unreadable: set[str] = set()
        self._told: dict[str, dict[str, float]] = {}

    def look(self, generations: Sequence[str]) -> None:
        """Take in labels that came since, and judge what these generations have not judged yet; others are forgotten.

        A generation that cannot be read or run is left out, and logged once.
        """
        if not self._limit:
            return
        self._take_in()
        self._loaded = {name: loaded for name in generations if (loaded := self._load(name)) is not None}
        for frame in self._frames.values():
            frame.judged = {name: judged for name, judged in frame.judged.items() if name in self._loaded}
        for loaded in list(self._loaded.values()):
            self._judge(loaded)
        self._told = {name: self._all(name).figures() for name in self._loaded if self._frames}

    def figures(self) -> dict[str, dict[str, float]]:
        """Return the figures by generation, as of the last look."""
        return self._told

    def paired(self, now: str, before: str, since: datetime) -> PairedCrops | None:
        """Return the crops labelled since, as both generations answer them; None where there are none."""
        new = [f for f in self._frames.values() if f.labelled.label_time > since and {now, before} <= f.judged.keys()]
        if not new:
            return None
        ours, theirs = (_joined([frame.judged[name] for frame in new]) for name in (now, before))
        crops = [(f.labelled.drive_id, f.labelled.frame_id) for f in new for _ in range(len(f.examples))]
        drives, frames = zip(*crops, strict=True)
        return PairedCrops(ours.nll, theirs.nll, ours.wrong, theirs.wrong, drives, frames)

    def _take_in(self) -> None:
        newest = self._labels.counts(newer_than=self._seen).sequence
        if newest == self._seen:
            return
        kept: dict[tuple[str, int], _Frame] = {}
        for labelled in self._labels.newest_control(self._limit):
            key = (labelled.frame_id, labelled.sequence)
            try:
                kept[key] = self._frames.get(key) or _Frame(labelled, examples_of_frame(labelled, self._side), {})
            except QuandaryError as error:
                log.warning("control_frame_left_out frame=%s problem=%s", labelled.frame_id, error)
        self._frames = {key: frame for key, frame in kept.items() if len(frame.examples)}
        self._seen = newest

    def _load(self, generation: str) -> LoadedGeneration | None:
        if generation in self._loaded or generation in self._unreadable:
            return self._loaded.get(generation)
        try:
            return LoadedGeneration(self._registry.load(generation), Provider.CPU)
        except Unavailable:
            raise
        except Exception as error:
            # ONNX Runtime's errors have no base but this
            self._leave_out(generation, error)
            return None

    def _judge(self, generation: LoadedGeneration) -> None:
        lacking = [frame for frame in self._frames.values() if generation.id not in frame.judged]
        if not lacking:
            return
        try:
            all_of = judged(generation, Examples.joined([frame.examples for frame in lacking]), self._options)
        except Exception as error:
            self._leave_out(generation.id, error)
            return
        start = 0
        for frame in lacking:
            frame.judged[generation.id] = all_of.take(slice(start, start := start + len(frame.examples)))

    def _leave_out(self, generation: str, why: Exception) -> None:
        """Have a generation that cannot be judged be left out from now on: the others are, and the watch goes on."""
        log.warning("quality_not_judged generation=%s problem=%s", generation, why)
        self._unreadable.add(generation)
        self._loaded.pop(generation, None)

    def _all(self, generation: str) -> Judged:
        return _joined([frame.judged[generation] for frame in self._frames.values()])


def judged(generation: Generation, examples: Examples, options: ScoringOptions) -> Judged:
    """Return how a generation answers N >= 1 labelled crops: where it has no sound answer, as one wrong that knows nothing."""
    found, classes = score_rasters(generation, examples.rasters, options, jackknife=False), examples.classes
    probs = np.where(found.usable[:, None], found.mean_probs, 1.0 / found.mean_probs.shape[1])
    wrong = (probs.argmax(axis=1) != classes) | ~found.usable
    return Judged(negative_log_likelihoods(probs, classes), probs, entropy(probs), wrong.astype(np.float64), classes)


def _joined(parts: Sequence[Judged]) -> Judged:
    def along(name: str) -> NDArray[np.float64]:
        return np.concatenate([getattr(part, name) for part in parts])

    classes = np.concatenate([part.classes for part in parts])
    return Judged(along("nll"), along("probs"), along("entropy"), along("wrong"), classes)
