"""Finds the labelled frame that looks most like a task's, to the generation that scored it."""

import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from quandary_server.selection.core_set import unit
from quandary_server.selection.nearest import nearest
from quandary_server.selector.frame_views import FrameView, frame_view
from quandary_server.storage.embeddings import Embeddings
from quandary_server.storage.task_values import Task

__all__ = ["LabelledIndex", "embedding_bytes"]

ROWS_PER_LOOK = 5_000
"""Read of the store at one look, at the most: an index that is new answers with what it knows so far."""

LEAST_ROWS = 1_024


class LabelledIndex:
    """The embeddings of all labelled frames by the newest generation; whoever follows the store keeps it up to date.

    Holds 4 bytes a number: of 100,000 frames with 144 numbers each 58 MB.
    """

    def __init__(self, embeddings: Embeddings, generation: Callable[[], str]) -> None:
        self._embeddings, self._newest = embeddings, generation
        self._lock = threading.Lock()
        self._generation, self._after = "", 0
        self._frames: list[str] = []
        self._place: dict[str, int] = {}
        self._rows = np.empty((0, 0), np.float32)

    def nearest(self, task: Task) -> tuple[str, float] | None:
        """Return the labelled frame most like the task's, other than itself, and its cosine distance; None if none is known,
        and for a task that the newest generation has not scored.
        """
        self.follow()
        with self._lock:
            same = task.generation and task.generation == self._generation
            rows, frames, itself = self._rows[: len(self._frames)], self._frames, self._place.get(task.frame_id)
        embedding = frame_view(task.frame_score).embedding if same else None
        if embedding is None or not len(rows) or rows.shape[1] != len(embedding):
            return None
        found = nearest(embedding, rows, itself)
        return None if found is None else (frames[found.row], found.distance)

    def follow(self) -> bool:
        """Read what the store has more, some thousand rows at the most; return whether there was any."""
        with self._lock:
            if (newest := self._newest()) != self._generation:
                self._generation, self._after, self._frames, self._place = newest, 0, [], {}
                self._rows = np.empty((0, 0), np.float32)
            found = self._embeddings.since(newest, after=self._after, limit=ROWS_PER_LOOK) if newest else ()
            for embedded in found:
                self._after = embedded.sequence
                self._put(embedded.frame_id, np.frombuffer(embedded.embedding, "<f4"))
        return bool(found)

    def _put(self, frame_id: str, row: NDArray[np.float32]) -> None:
        if self._frames and len(row) != self._rows.shape[1]:
            return  # of a score from upstream, which names our generation and is another's
        place = self._place.setdefault(frame_id, len(self._frames))
        if place == len(self._frames):
            self._frames.append(frame_id)
        if place >= len(self._rows):
            grown = np.zeros((max(LEAST_ROWS, 2 * len(self._rows)), len(row)), np.float32)
            grown[:place] = self._rows[:place] if place else 0.0
            self._rows = grown
        self._rows[place] = row


def embedding_bytes(view: FrameView) -> bytes:
    """Return the embedding of a frame at length 1, as float32; empty where it is not known."""
    if view.embedding is None or not view.embedding.any():
        return b""
    return unit(view.embedding[None]).astype("<f4").tobytes()
