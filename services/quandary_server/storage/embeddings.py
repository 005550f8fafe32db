"""What the labelled frames look like to the newest generation, for those who look for the most similar one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import delete, func, insert, select

from quandary_server.storage import counters
from quandary_server.storage.conflicts import again_after_conflict
from quandary_server.storage.database import Database
from quandary_server.storage.elections import Lead, check_leads
from quandary_server.storage.schema import embeddings, frame_scores, frames, labels, tasks
from quandary_server.storage.task_values import CONTROL_QUEUE

__all__ = ["Embedded", "Embeddings", "Labelled"]

OF_TASK = (tasks.c.queue == labels.c.queue) & (tasks.c.frame_id == labels.c.frame_id)
OF_SCORE = (frame_scores.c.queue == labels.c.queue) & (frame_scores.c.frame_id == labels.c.frame_id)


@dataclass(frozen=True, slots=True)
class Labelled:
    """A labelled frame that a generation has not embedded; generation: of the FrameScore that it was labelled with, if any."""

    frame_id: str
    sequence: int
    crops: int
    generation: str
    record: bytes = field(repr=False)
    frame_score: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Embedded:
    """A labelled frame as a generation sees it; embedding: float32 of length 1, little-endian."""

    frame_id: str
    sequence: int
    embedding: bytes = field(repr=False)


class Embeddings:
    """The embeddings of a store: one of each labelled frame that was never kept for control, by the generation seen last."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def missing(self, generation: str, *, after: int, limit: int) -> tuple[tuple[Labelled, ...], int]:
        """Return labelled frames that the generation has not embedded, of those labelled behind the sequence `after`, and the
        sequence to go on behind; longest labelled first.
        """
        there = (embeddings.c.frame_id == labels.c.frame_id) & (embeddings.c.generation == generation)
        query = (
            select(
                labels.c.frame_id,
                labels.c.sequence,
                frames.c.crops,
                tasks.c.generation,
                frames.c.record,
                frame_scores.c.frame_score,
            )
            .join(frames, frames.c.frame_id == labels.c.frame_id)
            .join(tasks, OF_TASK)
            .outerjoin(frame_scores, OF_SCORE)
            .outerjoin(embeddings, there)
            .where(labels.c.sequence > after, labels.c.queue != CONTROL_QUEUE, embeddings.c.frame_id.is_(None))
            .order_by(labels.c.sequence)
            .limit(limit)
        )
        with self._database.read() as connection:
            found = tuple(Labelled(**row) for row in connection.execute(query).mappings())
            if len(found) == limit:
                return found, found[-1].sequence
            return found, connection.execute(select(func.max(labels.c.sequence))).scalar_one() or after

    @again_after_conflict
    def write(self, found: Mapping[str, bytes], *, generation: str, lead: Lead | None = None) -> None:
        """Write embeddings by frame id in place of those there were. Raises Aborted where another leads by now."""
        if not found:
            return
        with self._database.write() as connection:
            check_leads(connection, lead)
            first = counters.draw(connection, counters.EMBEDDINGS, len(found))
            connection.execute(delete(embeddings).where(embeddings.c.frame_id.in_(list(found))))
            rows = [
                {"frame_id": frame_id, "sequence": first + i, "generation": generation, "embedding": embedding}
                for i, (frame_id, embedding) in enumerate(found.items())
            ]
            connection.execute(insert(embeddings), rows)

    def since(self, generation: str, *, after: int, limit: int) -> Sequence[Embedded]:
        """Return up to `limit` embeddings by the generation that were written behind the sequence `after`, in order."""
        query = (
            select(embeddings.c.frame_id, embeddings.c.sequence, embeddings.c.embedding)
            .where(embeddings.c.sequence > after, embeddings.c.generation == generation)
            .order_by(embeddings.c.sequence)
            .limit(limit)
        )
        with self._database.read() as connection:
            return tuple(Embedded(**row) for row in connection.execute(query).mappings())
