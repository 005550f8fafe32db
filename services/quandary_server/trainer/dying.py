"""Whether replicas die of a generation: out of memory, say, or where its nets bring ONNX Runtime down."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from quandary_server.registry.roster import Heartbeat
from quandary_server.trainer.falling import Fall
from quandary_server.trainer.moves import Cause

YOUNG = timedelta(minutes=1)
ENOUGH = 3


class Deaths:
    """Replicas that began to answer with a generation and fell silent within a minute, one after the other.

    Those that were there at the first look do not count, since they may have died with their machine: what came in their place
    lives then. Nor do those that left the roster, as all do that are ended.
    """

    def __init__(self) -> None:
        self._first: frozenset[str] | None = None
        self._came: dict[str, datetime] = {}
        self._died: set[str] = set()

    def look(self, generation: str, known: Iterable[Heartbeat], now: datetime) -> Fall | None:
        """Take down who came and who died; return the fall where three have died. known: heartbeats, silent ones among them."""
        beats = list(known)
        if self._first is None:
            self._first = frozenset(beat.replica for beat in beats)
        for beat in beats:
            if beat.replica in self._first or beat.generation != generation:
                continue
            came = self._came.setdefault(beat.replica, beat.beaten)
            if not beat.alive(now) and beat.beaten - came <= YOUNG:
                self._died.add(beat.replica)
            else:
                self._died.discard(beat.replica)
        if len(self._died) < ENOUGH:
            return None
        return Fall(Cause.REPLICAS, f"replicas die of it: {', '.join(sorted(self._died))} came and fell silent within a minute")
