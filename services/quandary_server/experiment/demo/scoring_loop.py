"""Somebody who scores frames all the time, to whom nothing may happen while generations are swapped."""

import threading
from collections import Counter
from collections.abc import Sequence

from quandary import Frame, NoGeneration, QuandaryError, ScoringClient, result_score
from quandary.records import FrameRecord
from quandary_server.storage.blobs import read_cloud

PAUSE_S = 0.05


class ScoringLoop:
    """Scores the same frames over and over from `start` to `stop`.

    answers: by generation. problems: what went wrong, and how often.
    """

    def __init__(self, target: str, token: str, records: Sequence[FrameRecord]) -> None:
        self._target, self._token, self._records = target, token, records
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scoring-loop", daemon=True)
        self.answers: Counter[str] = Counter()
        self.problems: Counter[str] = Counter()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, after the answer that is awaited."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        frames = [_frame(record) for record in self._records]
        with ScoringClient(self._target, token=self._token) as client:
            while not self._over.wait(PAUSE_S):
                for frame in frames:
                    self._score(client, frame)

    def _score(self, client: ScoringClient, frame: Frame) -> None:
        try:
            response = client.score_frames([frame])
            result_score(response.results[0])
        except NoGeneration:
            return
        except QuandaryError as error:
            self.problems[f"{type(error).__name__}: {error}"] += 1
            return
        named = {response.generation, *(result.generation for result in response.results)}
        if len(named) > 1:
            self.problems["an answer of several generations"] += 1
        self.answers[response.generation] += 1


def _frame(record: FrameRecord) -> Frame:
    points = read_cloud(record.cloud_uri)
    return Frame(record.frame_id, record.calibration, record.proposals, points=points).cropped()
