"""Somebody who scores a frame over and over, and counts what comes back."""

import time
from collections import Counter
from threading import Event, Thread
from types import TracebackType
from typing import Self

from quandary import QuandaryError, ScoringClient, result_score
from quandary_server.bench.frames import cropped_frame

EVERY_S = 0.05


class Asker:
    """Scores a frame some twenty times a second while it is entered. answers: by generation; first_s: when each first came.

    problems: calls and frames that were not answered by a score.
    """

    def __init__(self, target: str, token: str) -> None:
        self._target, self._token = target, token
        self._over, self._thread = Event(), Thread(target=self._run, name="asker")
        self.answers: Counter[str] = Counter()
        self.first_s: dict[str, float] = {}
        self.problems: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        frame = cropped_frame(4, 0)
        with ScoringClient(self._target, token=self._token) as client:
            while not self._over.wait(EVERY_S):
                try:
                    response = client.score_frames([frame])
                    result_score(response.results[0])
                except QuandaryError as error:
                    self.problems.append(repr(error))
                    continue
                self.answers[response.generation] += 1
                self.first_s.setdefault(response.generation, time.time())
