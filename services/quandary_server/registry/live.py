"""What replicas tell of their answers in the roster, generation by generation, so that a promotion can be watched."""

from collections.abc import Iterable, Sequence
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

SECONDS = tuple(np.geomspace(1e-3, 1e2, 41).tolist())
"""Edges of the bins of latency, eight a decade."""

SCORES = tuple(np.geomspace(1e-4, 1e2, 37).tolist())
"""Edges of the bins of frame scores, six a decade."""

Count = Annotated[int, Field(ge=0)]


class LiveCounts(BaseModel):
    """Of one generation's answers in the last 10 to 20 minutes: how many, how many failed by its fault, and histograms.

    in_flight: requests that it is answering now. seconds: answers by the time they took, in the bins of SECONDS, and requests
    that were given up by when they were; scores: the different scores of frames by default options, in the bins of SCORES. Both
    with one bin more below and above the edges. Fields that a later version adds are passed over: see Heartbeat.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    generation: str
    in_flight: Count = 0
    answers: Count = 0
    failures: Count = 0
    seconds: tuple[Count, ...] = (0,) * (len(SECONDS) + 1)
    scores: tuple[Count, ...] = (0,) * (len(SCORES) + 1)


def total(generation: str, found: Iterable[LiveCounts]) -> LiveCounts:
    """Return the counts of a generation over all replicas."""
    mine = [counts for counts in found if counts.generation == generation]
    return LiveCounts(
        generation=generation,
        in_flight=sum(counts.in_flight for counts in mine),
        answers=sum(counts.answers for counts in mine),
        failures=sum(counts.failures for counts in mine),
        seconds=_summed([counts.seconds for counts in mine], len(SECONDS) + 1),
        scores=_summed([counts.scores for counts in mine], len(SCORES) + 1),
    )


def _summed(histograms: Sequence[tuple[int, ...]], bins: int) -> tuple[int, ...]:
    same = [histogram for histogram in histograms if len(histogram) == bins]
    return tuple(map(sum, zip(*same, strict=True))) if same else (0,) * bins
