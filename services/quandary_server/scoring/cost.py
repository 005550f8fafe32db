"""How many seconds of compute a piece of work will take: a rule of thumb, corrected by what was measured."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from quandary.options import Estimator, ScoringOptions
from quandary.v1 import scoring_pb2
from quandary_server.inference.generation import EVERY_MEMBER, sample_count
from quandary_server.wire.frames import Limits

# On one core of the machine that the README's figures are from, with the default net. Only their proportions matter: the rest
# is learnt.
TURN_S = 1e-5
FRAME_S = 2e-4
CROP_S = 2e-5
POINT_S = 1.3e-7
PASS_S = 1.1e-4
SAMPLE_S = 1e-6

MEMORY = 0.1
"""Weight of the latest measurement."""


@dataclass(frozen=True)
class Load:
    """What a piece of work is made of: frames, their crops, the points of whole clouds, and per crop passes and samples."""

    estimator: Estimator
    frames: int
    crops: int
    points: int
    passes: int
    samples: int

    @property
    def rule_s(self) -> float:
        """Seconds by the rule of thumb."""
        per_crop = CROP_S + self.passes * PASS_S + self.samples * SAMPLE_S
        return TURN_S + self.frames * FRAME_S + self.points * POINT_S + self.crops * per_crop


class CostModel:
    """Estimates seconds of compute; learns how far off the rule is on this machine, per estimator."""

    def __init__(self) -> None:
        self._factors: dict[Estimator, float] = {}

    def seconds(self, load: Load) -> float:
        """Return the estimate; for an estimator never measured, as far off as those that were."""
        return load.rule_s * self._factor(load.estimator)

    def learn(self, load: Load, measured_s: float) -> None:
        """Take note of what a piece of work took."""
        latest = measured_s / load.rule_s
        known = self._factors.get(load.estimator, latest)
        self._factors[load.estimator] = known + MEMORY * (latest - known)

    def _factor(self, estimator: Estimator) -> float:
        if not self._factors:
            return 1.0
        return self._factors.get(estimator, sum(self._factors.values()) / len(self._factors))


def load_of_crops(crops: int, options: ScoringOptions, members: int) -> Load:
    """Return the load of crops that are rasterised already."""
    passes = members if options.estimator in EVERY_MEMBER else 1
    return Load(options.estimator, frames=0, crops=crops, points=0, passes=passes, samples=sample_count(options, members))


def load_of(frames: Sequence[scoring_pb2.FrameInput], options: ScoringOptions, members: int, limits: Limits) -> Load:
    """Return the load of frames as they were sent, right or wrong: nothing is parsed for it."""
    crops = sum(count for frame in frames if (count := len(frame.proposals)) <= limits.max_proposals)
    points = sum(_cloud_points(frame, limits.max_points) for frame in frames)
    crops *= 1 + options.jittered_proposals
    return replace(load_of_crops(crops, options, members), frames=len(frames), points=points)


def _cloud_points(frame: scoring_pb2.FrameInput, most: int) -> int:
    shape = frame.cloud.shape if frame.HasField("cloud") else ()
    return min(max(shape[0], 0), most) if shape else 0
