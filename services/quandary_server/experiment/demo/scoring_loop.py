"""Somebody who scores frames all the time, to whom nothing may happen while generations are swapped."""

import threading
from collections import Counter
from collections.abc import Sequence

from quandary import Frame, NoGeneration, ScoringClient, result_score
from quandary.records import FrameRecord
from quandary_server.storage.blobs import read_cloud

PAUSE_S = 0.05


class ScoringLoop:
    """Scores the same frames over and over from `start` to `stop`.

    answers: by generation. problems: what went wrong, and how often; that there was not one answer is a problem too.
    """

    def __init__(self, target: str, token: str, records: Sequence[FrameRecord]) -> None:
        self._client = ScoringClient(target, token=token)
        self._frames = [_frame(record) for record in records]
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
        self._client.close()
        if not self.answers:
            self.problems["not one answer"] = 1

    def _run(self) -> None:
        while not self._over.wait(PAUSE_S):
            for frame in self._frames:
                self._score(frame)

    def _score(self, frame: Frame) -> None:
        try:
            response = self._client.score_frames([frame])
            result_score(response.results[0])
        except NoGeneration:
            return
        except Exception as error:
            # whatever it is, nothing may happen to who scores
            self.problems[f"{type(error).__name__}: {error}"] += 1
            return
        named = {response.generation, *(result.generation for result in response.results)}
        if len(named) > 1:
            self.problems["an answer of several generations"] += 1
        self.answers[response.generation] += 1


def _frame(record: FrameRecord) -> Frame:
    points = read_cloud(record.cloud_uri)
    return Frame(record.frame_id, record.calibration, record.proposals, points=points).cropped()
