"""For a while after a promotion the live figures are watched; where they fall the pointer goes back by itself."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from quandary.errors import CorruptArtefact, NotFound, PointerMoved, WrongState
from quandary_server import metrics
from quandary_server.registry.directory import Registry
from quandary_server.registry.live import LiveCounts, total
from quandary_server.registry.pointer import Pointer
from quandary_server.registry.roster import Heartbeat
from quandary_server.settings.promotion import WatchSettings
from quandary_server.storage.audit import PointerAction
from quandary_server.storage.store import Store
from quandary_server.trainer.dying import Deaths
from quandary_server.trainer.falling import Fall, fallen, quality_fallen
from quandary_server.trainer.live_quality import LiveQuality
from quandary_server.trainer.moves import Cause, Move, Told
from quandary_server.trainer.promotion import BACK_WITHIN, turn_back

MAX_ERROR_CHARACTERS = 500

TOLD_WITHIN = timedelta(seconds=30)
"""After a move; by then its mover, or the attempt that goes on with the run, has told of it, or never will."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Promotion:
    """What is watched: the pointer as a promotion left it, the generation before, when it was, and how long replicas had."""

    pointer: Pointer
    before: str
    time: datetime
    timeout: timedelta


class Watch:
    """Looks at the figures of the newest promotion. What is watched stands in the audit: a restart goes on where it was.

    A rollback, by a call or by itself, ends the watch, and another promotion begins another one. The live figures are of the
    heartbeats, the quality of labels that came in since.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        bounds: WatchSettings,
        quality: LiveQuality,
        clock: Callable[[], datetime],
        told: Told,
    ) -> None:
        self._store, self._registry, self._bounds = store, registry, bounds
        self._quality, self._clock, self._told = quality, clock, told
        self._watched: Promotion | None = None
        self._baseline = LiveCounts(generation="none")
        self._late, self._deaths = dict[str, datetime](), Deaths()
        self._given_up = self._audited = 0

    def look(self) -> None:
        """Judge the live figures while a promotion is watched, and the control labels that came in; roll back where they fell.

        The live figures come first: what is wrong with a label or its cloud must not hide that answers fail. Raises
        CorruptArtefact where the pointer cannot be read.
        """
        pointer, now = self._registry.pointer(), self._clock()
        if pointer is None:
            return
        if self._audited != pointer.revision and now >= pointer.moved + TOLD_WITHIN:
            self._tell_late(pointer)
        self._follow(pointer, now)
        if (watched := self._watched) is not None and (fall := self._fall(watched, now)) is not None:
            self._turn_back(watched, fall)
            return
        self._quality.look([pointer.generation, *filter(None, [pointer.previous])])
        if watched is not None:
            crops = self._quality.paired(pointer.generation, watched.before, watched.time)
            if (fall := quality_fallen(crops, self._bounds)) is not None:
                self._turn_back(watched, fall)

    def watching(self) -> Iterable[metrics.Sample]:
        """Yield whether a promotion is being watched."""
        yield metrics.TRAINER_WATCHING, (), float(self._watched is not None)

    def quality(self) -> Iterable[metrics.Sample]:
        """Yield the figures on control labels, of the current generation and the one before; not those undetermined."""
        for generation, figures in self._quality.figures().items():
            for name, value in figures.items():
                yield metrics.TRAINER_LIVE_QUALITY, (generation, name), value

    def _tell_late(self, pointer: Pointer) -> None:
        """Tell of a move that is in no audit: whoever made it died first, or could not reach the store, or is no trainer."""
        event = self._store.audit.last_move()
        if event is not None and event.details["revision"] == str(pointer.revision):
            self._audited = pointer.revision
            return
        was = event.details["generation"] if event is not None else ""
        went_back = was != "" and was not in pointer.history
        action = PointerAction.ROLL_BACK if went_back else PointerAction.PROMOTE
        before = was if went_back else pointer.previous or ""
        moved = (pointer.generation, before, pointer.revision, pointer.mover, pointer.moved)
        self._told(Move(action, *moved, Cause.FOUND, "its mover has not told of it"))

    def _follow(self, pointer: Pointer, now: datetime) -> None:
        """Take note of what is to be watched now."""
        watched = self._watched
        if watched is None or watched.pointer.revision != pointer.revision:
            found = self._promotion(pointer)
            if found is not None and now < found.time + self._bounds.duration:
                self._baseline, self._late, self._deaths = LiveCounts(generation=found.before), {}, Deaths()
                log.info("watch_begun generation=%s before=%s since=%s", pointer.generation, found.before, found.time)
                self._watched = found
                return
            self._watched = None
        elif now >= watched.time + self._bounds.duration:
            log.info("watch_over generation=%s", pointer.generation)
            self._watched = None

    def _promotion(self, pointer: Pointer) -> Promotion | None:
        """Return the promotion that moved the pointer to where it is; None where that was none, or of the first generation."""
        if pointer.revision == self._given_up or self._clock() >= pointer.moved + self._bounds.duration:
            return None
        event = self._store.audit.last_move()
        if event is None or event.action is not PointerAction.PROMOTE:
            return None
        details, before = event.details, event.details["before"]
        if details["revision"] != str(pointer.revision) or before in ("", pointer.generation):
            return None
        return Promotion(pointer, before, event.time, timedelta(seconds=float(details.get("timeout_s", 0.0))))

    def _fall(self, watched: Promotion, now: datetime) -> Fall | None:
        known = self._registry.roster.known(now)
        beats = [beat for beat in known if beat.alive(now)]
        live = [counts for beat in beats for counts in beat.live]
        current = watched.pointer.generation
        before = total(watched.before, live)
        if before.answers > self._baseline.answers:
            # replicas forget what they answered ten minutes ago
            self._baseline = before
        return (
            self._behind(watched, beats, now)
            or self._deaths.look(current, known, now)
            or fallen(total(current, live), self._baseline, self._bounds)
        )

    def _behind(self, watched: Promotion, beats: Iterable[Heartbeat], now: datetime) -> Fall | None:
        """Tell which replicas have not followed for longer than the promotion had: it may have died while it waited."""
        late = {beat.replica: beat for beat in beats if beat.generation != watched.pointer.generation}
        self._late = {replica: self._late.get(replica, now) for replica in late}
        patience = watched.timeout + BACK_WITHIN
        names = [
            f"{name} ({late[name].problem or late[name].generation})" for name, at in self._late.items() if now - at > patience
        ]
        return Fall(Cause.REPLICAS, f"replicas do not answer with it: {'; '.join(names)}") if names else None

    def _turn_back(self, watched: Promotion, fall: Fall) -> None:
        """Roll back; where the registry is away the next look tries again."""
        generation = watched.pointer.generation
        try:
            after = turn_back(self._registry, watched.pointer, fall.reason, fall.cause, self._clock, self._told)
        except PointerMoved:
            self._watched = None
            return
        except (CorruptArtefact, NotFound, WrongState) as error:
            self._watched, self._given_up = None, watched.pointer.revision
            log.error("not_rolled_back generation=%s reason=%s problem=%s", generation, fall.reason, error)
            return
        self._watched = None
        run = self._registry.manifest(generation).run
        told = f"rolled back to {watched.before}: {fall.reason}{after}"
        self._store.runs.note_rolled_back(run, error=told[:MAX_ERROR_CHARACTERS])
