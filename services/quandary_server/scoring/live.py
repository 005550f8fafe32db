"""What a replica answers, by generation: how many requests are in flight, and how those of the last minutes went."""

import asyncio
import bisect
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from quandary.errors import CorruptArtefact, DeadlineExceeded, Internal, QuandaryError
from quandary.options import ScoringOptions
from quandary.v1 import scoring_pb2
from quandary_server.registry.live import SCORES, SECONDS, LiveCounts

EPOCH_S = 600.0
"""What is told covers one to two of these."""

MAX_SEEN = 20_000
"""Scores of an epoch that are told apart; more of them would tell no more of their distribution."""

DEFAULTS = ScoringOptions()
INTERNAL = 13
"""The status code of a frame that the generation could not answer."""


@dataclass
class _Epoch:
    answers: int = 0
    failures: int = 0
    seconds: list[int] = field(default_factory=lambda: [0] * (len(SECONDS) + 1))
    scores: list[int] = field(default_factory=lambda: [0] * (len(SCORES) + 1))
    seen: set[float] = field(default_factory=set)


class Live:
    """Counts by generation; written by the event loop, read by the thread of the heartbeat.

    A frame that is asked for again has the same score to the bit, which counts once: else a loop over few frames would be taken
    for a distribution. Failures are those that a generation may be at fault for, and no wrong request, nor one that was turned
    away or given up. One that was given up took that long at the least, which the latencies have: a generation that nobody has
    the patience for must not pass for one that is not asked.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._in_flight: Counter[str] = Counter()
        self._epochs: tuple[dict[str, _Epoch], dict[str, _Epoch]] = ({}, {})
        self._since = clock()

    @contextmanager
    def answering(self, generation: str) -> Iterator[None]:
        """Count a request while it is answered, and afterwards how it went."""
        started = self._clock()
        with self._lock:
            self._in_flight[generation] += 1
        try:
            yield
        except (DeadlineExceeded, asyncio.CancelledError):
            self._note(generation, seconds=self._clock() - started)
            raise
        except Exception as error:
            if isinstance(error, Internal | CorruptArtefact) or not isinstance(error, QuandaryError):
                self._note(generation, answers=1, failures=1)
            raise
        else:
            self._note(generation, answers=1, seconds=self._clock() - started)
        finally:
            with self._lock:
                self._in_flight[generation] -= 1

    def scored(self, generation: str, options: ScoringOptions, results: Sequence[scoring_pb2.FrameResult]) -> None:
        """Count the frames of an answer: those that failed by the generation's fault, and the scores by default options."""
        failed = any(result.error.status_code == INTERNAL for result in results)
        comparable = (options.estimator, options.effective_acquisition, options.reduction) == (
            DEFAULTS.estimator,
            DEFAULTS.effective_acquisition,
            DEFAULTS.reduction,
        )
        scores = [result.score.score for result in results if result.HasField("score")] if comparable else []
        if failed or scores:
            self._note(generation, failures=int(failed), scores=scores)

    def told(self, generations: Iterable[str]) -> tuple[LiveCounts, ...]:
        """Return the counts of these generations, and of others that still answer something; those without any are left out."""
        with self._lock:
            self._turn()
            answering = [generation for generation, count in self._in_flight.items() if count > 0]
            found = [self._counts(generation) for generation in dict.fromkeys([*generations, *answering])]
        return tuple(counts for counts in found if counts.answers or counts.in_flight or any(counts.seconds))

    def _note(
        self,
        generation: str,
        *,
        answers: int = 0,
        failures: int = 0,
        seconds: float | None = None,
        scores: Sequence[float] = (),
    ) -> None:
        with self._lock:
            self._turn()
            epoch = self._epochs[1].setdefault(generation, _Epoch())
            epoch.answers += answers
            epoch.failures += failures
            if seconds is not None:
                epoch.seconds[bisect.bisect(SECONDS, seconds)] += 1
            for score in set(scores) - epoch.seen if len(epoch.seen) < MAX_SEEN else ():
                epoch.seen.add(score)
                epoch.scores[bisect.bisect(SCORES, score)] += 1

    def _turn(self) -> None:
        past = self._clock() - self._since
        if past >= EPOCH_S:
            self._epochs = (self._epochs[1] if past < 2 * EPOCH_S else {}, {})
            self._since = self._clock()

    def _counts(self, generation: str) -> LiveCounts:
        before, now = (epoch.get(generation, _Epoch()) for epoch in self._epochs)
        return LiveCounts(
            generation=generation,
            in_flight=self._in_flight[generation],
            answers=before.answers + now.answers,
            failures=before.failures + now.failures,
            seconds=tuple(map(sum, zip(before.seconds, now.seconds, strict=True))),
            scores=tuple(map(sum, zip(before.scores, now.scores, strict=True))),
        )
