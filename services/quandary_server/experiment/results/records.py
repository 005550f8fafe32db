"""The records of an experiment as they are compared: complete arms by seed, learning curves, the full pool's performance."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from quandary.options import Estimator
from quandary_server.evaluation.savings import Curve
from quandary_server.experiment.folder import ExperimentFolder
from quandary_server.experiment.methods import METHODS, RANDOM
from quandary_server.experiment.replay.rounds import ArmRecord
from quandary_server.experiment.results.measures import Measure

Array = NDArray[np.float64]


class Records:
    """All arms of a folder. Only complete arms are compared; those that are not are counted."""

    def __init__(self, folder: ExperimentFolder) -> None:
        self.settings = folder.settings()
        self.arms = list(folder.arms())
        self.missing_held_out = folder.missing_held_out()

    def methods(self, replay: str) -> list[str]:
        """Return the methods that a replay asks for, in the order of its settings."""
        return list(self.settings.replays[replay].methods)

    def begun(self, replay: str, method: str) -> dict[int, ArmRecord]:
        """Return the arms that have a round, by seed."""
        return {a.seed: a for a in self.arms if (a.replay, a.method) == (replay, method) and a.rounds}

    def complete(self, replay: str, method: str) -> dict[int, ArmRecord]:
        """Return the arms that are complete, by seed."""
        return {seed: arm for seed, arm in self.begun(replay, method).items() if arm.complete}

    def all_complete(self, replay: str, *methods: str) -> bool:
        """Whether every seed that a replay asks for is complete, of these methods, or of all where none is named."""
        asked = self.settings.replays[replay].methods
        return all(len(self.complete(replay, method)) >= asked.get(method, 0) for method in methods or asked)

    @property
    def finished(self) -> bool:
        """Whether all that was asked for is done: every arm, and every training without a class."""
        return all(map(self.all_complete, self.settings.replays)) and not self.missing_held_out

    def full_pool(self, replay: str, estimator: Estimator, measure: Measure) -> float | None:
        """Return what the whole pool gives: the mean over random sampling's complete arms of their last rounds.

        None where random sampling does not end with the whole pool, or nothing of the kind was measured.
        """
        if not self.settings.replays[replay].full_pool:
            return None
        arms = self.complete(replay, RANDOM).values()
        curves = [curve for arm in arms if (curve := curve_of(arm, estimator, measure)) is not None]
        return float(np.mean([curve.values[-1] for curve in curves])) if curves else None


def curve_of(arm: ArmRecord, estimator: Estimator, measure: Measure) -> Curve | None:
    """Return an arm's learning curve judged with an estimator; None where a round lacks the measure."""
    values = [found.figures.get(estimator.value, {}).get(measure.name) for found in arm.rounds]
    measured = [value for value in values if value is not None]
    if not measured or len(measured) < len(values):
        return None
    return Curve(np.array([found.labels for found in arm.rounds]), np.array(measured))


def own_estimator(method: str) -> Estimator:
    """Return what a method is judged with."""
    return METHODS[method].estimator


def shared_rounds(arms: Sequence[ArmRecord]) -> int:
    """Return how many rounds all arms have; 0 for none."""
    return min((len(arm.rounds) for arm in arms), default=0)


def mean_labelling_seconds(arms: Sequence[ArmRecord]) -> tuple[Array, Array]:
    """Return labels (R,) and labelling seconds (R,) of the rounds that all arms have, each the mean over arms."""
    rounds = shared_rounds(arms)
    labels = np.array([[found.labels for found in arm.rounds[:rounds]] for arm in arms], np.float64)
    seconds = np.array([[found.labelling_seconds for found in arm.rounds[:rounds]] for arm in arms])
    return labels.mean(axis=0), seconds.mean(axis=0)
