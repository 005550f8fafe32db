"""The crops of several requests, scored as one: each request gets to the bit what it would get alone, or its own error."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from quandary.options import ScoringOptions
from quandary_server.frustum.raster import Rasters
from quandary_server.inference.generation import Generation
from quandary_server.inference.object_scores import ObjectScores
from quandary_server.inference.scores import score_rasters
from quandary_server.scoring.work import Work

Answer = TypeVar("Answer")
AnswerOut = TypeVar("AnswerOut", covariant=True)


class Scorable(Protocol[AnswerOut]):
    """What one request asks for at one time."""

    def rasters(self) -> Rasters | None:
        """Return the crops to score, None where there are none."""

    def answer(self, scores: ObjectScores | None) -> tuple[AnswerOut, Work]:
        """Return the answer from the scores of those crops, and what was done for it but for its time."""


def score_jointly(
    generation: Generation, options: ScoringOptions, requests: Sequence[Scorable[Answer]], *, jackknife: bool = True
) -> list[tuple[Answer, Work] | Exception]:
    """Return for each request its answer, or what went wrong with it; the others are none the worse."""
    entries = [_Entry(request) for request in requests]
    for entry in entries:
        with entry.counted():
            entry.rasters = entry.request.rasters()

    _score(generation, options, [entry for entry in entries if entry.rasters is not None], jackknife)
    return [entry.answered() for entry in entries]


@dataclass(eq=False)
class _Entry(Generic[Answer]):
    """A request on its way, with the seconds spent on it and what went wrong."""

    request: Scorable[Answer]
    rasters: Rasters | None = None
    scores: ObjectScores | None = None
    problem: Exception | None = None
    seconds: float = 0.0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count the time of what is done for this request alone; what goes wrong in it is kept."""
        started = time.perf_counter()
        try:
            yield
        except Exception as error:
            self.problem = error
        finally:
            self.seconds += time.perf_counter() - started

    def answered(self) -> tuple[Answer, Work] | Exception:
        """Return the answer with the time that it took, or what went wrong."""
        if self.problem is None:
            with self.counted():
                answer, work = self.request.answer(self.scores)
        return self.problem or (answer, work + Work(seconds=self.seconds))


def _score(generation: Generation, options: ScoringOptions, entries: Sequence[_Entry[Answer]], jackknife: bool) -> None:
    """Give each entry the scores of its rasters; where those of all together fail, only what fails alone is at fault."""
    parts = [entry.rasters for entry in entries if entry.rasters is not None]
    if not parts:
        return
    started = time.perf_counter()
    try:
        scores = score_rasters(generation, Rasters.joined(parts), options, jackknife=jackknife)
    except Exception as error:
        if len(entries) == 1:
            entries[0].problem = error
        else:
            for entry in entries:
                _score(generation, options, [entry], jackknife)
        return
    seconds, start = time.perf_counter() - started, 0
    for entry, part in zip(entries, parts, strict=True):
        stop = start + len(part)
        entry.scores = scores if len(parts) == 1 else scores.take(slice(start, stop))
        entry.seconds += seconds * len(part) / len(scores)
        start = stop
