"""Has the newest generation embed what is labelled, beside all else: its embeddings compare to no other generation's."""

import asyncio
import logging
from collections.abc import Callable

from quandary import convert
from quandary.errors import Aborted, QuandaryError, Unavailable
from quandary.v1 import fleet_log_pb2
from quandary_server.selector.frame_scores import FrameRefused, Scorer
from quandary_server.selector.frame_views import frame_view
from quandary_server.selector.labelled_index import embedding_bytes
from quandary_server.selector.pace import Pace
from quandary_server.storage.elections import Lead
from quandary_server.storage.embeddings import Labelled
from quandary_server.storage.store import Store

__all__ = ["Embedder"]

log = logging.getLogger(__name__)

BATCH = 16


class Embedder:
    """Embeds labelled frames, of the selector that leads: from the score that they were labelled with, where that is of the
    newest generation, and else by one call to scoring at a time. Their tasks keep the score that they have.
    """

    def __init__(self, store: Store, scorer: Scorer, lead: Callable[[], Lead | None], pace: Pace) -> None:
        self._store, self._scorer, self._lead, self._pace = store, scorer, lead, pace
        self._under: tuple[Lead, str] | None = None
        self._after = 0

    async def run(self) -> None:
        """Follow labels and generations until cancelled."""
        while True:
            try:
                moved = await self.step()
            except (Unavailable, Aborted) as error:
                log.warning("labelled_not_embedded problem=%s", error)
                moved = False
            if not moved:
                await asyncio.sleep(self._pace.poll.total_seconds())

    async def step(self) -> bool:
        """Embed the next few; return whether there were any."""
        lead = self._lead()
        generation = await self._scorer.generation() if lead is not None else ""
        if lead is None or not generation:
            return False
        if self._under != (lead, generation):
            self._under, self._after = (lead, generation), 0

        missing, behind = await asyncio.to_thread(self._store.embeddings.missing, generation, after=self._after, limit=BATCH)
        found = {frame.frame_id: await self._embedding(frame, generation) for frame in missing}
        known = {frame_id: embedding for frame_id, embedding in found.items() if embedding}
        await asyncio.to_thread(self._store.embeddings.write, known, generation=generation, lead=lead)
        self._after = behind
        return bool(missing)

    async def _embedding(self, frame: Labelled, generation: str) -> bytes:
        """Return the frame's embedding by the generation, empty where it has none."""
        score = frame.frame_score if frame.generation == generation else None
        if score is None and frame.crops:
            score = await self._score(frame, generation)
        return embedding_bytes(frame_view(score))

    async def _score(self, frame: Labelled, generation: str) -> bytes | None:
        try:
            scored = await self._scorer.score(convert.record(fleet_log_pb2.FrameRecord.FromString(frame.record)))
        except (QuandaryError, FrameRefused) as error:
            log.warning("labelled_not_embedded frame=%s problem=%s", frame.frame_id, error)
            return None
        # of a generation that came just now: it begins anew with the next step
        return scored.frame_score if scored is not None and scored.generation == generation else None
