"""Keeps the generation that answers: watches the pointer, loads beside, then swaps one reference."""

import contextlib
import logging
import os
import platform
import threading
import time
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Generic, Protocol, TypeVar

from quandary.errors import CorruptArtefact, GenerationNotResident, NoGeneration, QuandaryError, Unavailable
from quandary_server.registry.directory import Registry
from quandary_server.registry.pointer import Pointer
from quandary_server.registry.roster import Heartbeat
from quandary_server.scoring.live import Live
from quandary_server.scoring.retries import Retries

log = logging.getLogger(__name__)

START_PATIENCE = timedelta(seconds=30)
"""How long a replica that starts beside others waits for a generation: calls go to it as soon as it has started."""


class Held(Protocol):
    """What is kept of a generation."""

    @property
    def id(self) -> str:
        """The generation's id."""

    @property
    def number(self) -> int:
        """The generation's number."""


H = TypeVar("H", bound=Held)

Load = Callable[[str, str | None], H]
"""Gives what is to be kept of a generation (id, digest of its manifest where known); raises NotYet, or what is wrong."""


class NotYet(QuandaryError):
    """What a generation needs is not there yet; the keeper asks again."""


class Keeper(Generic[H]):
    """Current and previous generation of one replica, kept by threads of its own from `start` to `stop`.

    A generation that cannot be loaded leaves the old one answering and is told in the heartbeat; a replica that has none yet
    answers with the generation before meanwhile. `loaded` is called with the number of each generation that begins to answer,
    and with None for each that could not be loaded. still_used: generations
    that are kept although two newer ones are there. beating: called with each heartbeat. reached: called with whether the
    registry can be read, whenever that changes. live: counts what is answered, which the heartbeat tells.
    """

    def __init__(
        self,
        registry: Registry,
        replica: str,
        load: Load[H],
        poll: timedelta,
        clock: Callable[[], datetime],
        loaded: Callable[[int | None], None],
        *,
        deployment: str = "",
        still_used: Callable[[], Collection[str]] = tuple,
        beating: Callable[[], None] = lambda: None,
        reached: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self.live = Live()
        self._registry, self._replica, self._deployment = registry, replica, deployment
        self._load, self._still_used, self._beating, self._reached = load, still_used, beating, reached
        self._poll, self._clock, self._loaded = poll, clock, loaded
        # newest first; replaced as a whole, so that readers need no lock
        self._resident: tuple[H, ...] = ()
        self._seen: Pointer | None = None
        self._problem, self._waits, self._away, self._beaten = "", "", False, True
        self._retries, self._lacked, self._patient = Retries(poll.total_seconds()), "", False
        self._stop = threading.Event()
        self._changed = threading.Event()
        # loading may take longer than the roster is patient: the heart beats in a thread of its own
        self._watching = threading.Thread(target=self._watch, name="generation-keeper", daemon=True)
        self._heart = threading.Thread(target=self._keep_beating, name="heartbeat", daemon=True)

    def start(self, patience: timedelta = timedelta(0)) -> None:
        """Load the current generation, if there is one, and begin to watch.

        patience: how long to wait for one that cannot be had yet, since whoever answers is sent calls from then on.
        """
        self._patient = patience > timedelta(0)
        self._beat()  # before it reads the pointer: whoever moves that from now on waits for this replica too
        self._look()
        self._beat()
        self._heart.start()
        until = time.monotonic() + patience.total_seconds()
        while self._waits and not self._resident and time.monotonic() < until:
            self._stop.wait(self._poll.total_seconds())
            self._look_on()
        self._patient = False
        if not self._resident:
            self._look_on()
        self._watching.start()

    def stop(self) -> None:
        """Stop watching and take the replica off the roster."""
        self._stop.set()
        self._changed.set()
        for thread in (self._watching, self._heart):
            thread.join()
        with contextlib.suppress(Unavailable):
            self._registry.roster.leave(self._replica)

    @property
    def resident(self) -> tuple[H, ...]:
        """What is in memory, the current generation first."""
        return self._resident

    def generation(self, pinned: str = "") -> H:
        """Return the pinned generation, or the current one; raises NoGeneration, GenerationNotResident, or Unavailable."""
        return self.candidates(pinned)[0]

    def candidates(self, pinned: str = "") -> tuple[H, ...]:
        """Return those that may answer, the best first: the pinned one alone, or all; raises as `generation` does."""
        resident = self._resident
        if not pinned:
            if not resident and self._waits:
                raise Unavailable(self._waits)
            if not resident:
                raise NoGeneration("no generation has been promoted yet: train one, or promote one from the registry")
            return resident
        if (found := self.find(pinned)) is not None:
            return (found,)
        here = ", ".join(generation.id for generation in resident) or "none"
        raise GenerationNotResident(f"generation {pinned} is not resident in this replica; resident: {here}")

    def find(self, generation: str) -> H | None:
        """Return what is kept of a generation, None where it is not resident."""
        return next((held for held in self._resident if held.id == generation), None)

    def _watch(self) -> None:
        # at no niceness of its own: a thread that waits for a core while it holds the interpreter's lock holds up the answers
        while not self._stop.wait(self._poll.total_seconds()):
            self._look_on()

    def _look_on(self) -> None:
        before = self._state()
        self._look()
        if self._state() != before:
            self._changed.set()

    def _keep_beating(self) -> None:
        while not self._stop.is_set():
            self._changed.wait(self._registry.roster.every.total_seconds())
            self._changed.clear()
            if not self._stop.is_set():
                self._beat()

    def _look(self) -> None:
        """Follow the pointer."""
        pointer = None
        try:
            pointer = self._registry.pointer()
            if not self._retries.due(pointer):
                self._told(self._problem, waits=self._waits)
                return
            if not (pointer.same_move(self._seen) if pointer else self._seen is None):
                self._follow(pointer)
                self._seen = pointer
            self._retries.forget()
            self._told("")
        except NotYet as reason:
            self._told(str(reason), waits="the current generation is being loaded")
        except Unavailable as error:
            # the registry is away, and what is in memory answers on
            if not self._away:
                log.error("registry_away problem=%s", error)
            self._retries.forget()
            self._told(str(error), waits=f"no generation could be loaded yet: {error}", away=True)
        except Exception as error:
            # ONNX Runtime's errors have no base but this; whatever it is, the old generation answers on
            if str(error) != self._problem:
                log.error("generation_not_loaded problem=%s", error)
                self._loaded(None)
            self._retries.failed(pointer)
            self._told(str(error), waits="the current generation cannot be loaded here")

    def _told(self, problem: str, *, waits: str = "", away: bool = False) -> None:
        """Take down how the last look went. waits: what is told while nothing is resident."""
        if away != self._away:
            self._reached(not away)
        self._problem, self._waits, self._away = problem, waits, away

    def _follow(self, pointer: Pointer | None) -> None:
        if pointer is None:
            # no promotion is ever taken back: a file or a whole mount is away, and what is in memory can still answer
            raise CorruptArtefact("CURRENT is gone")
        try:
            wanted = self.find(pointer.generation) or self._load(pointer.generation, pointer.manifest_digest)
        except Unavailable:
            raise
        except Exception as problem:
            if not (self._patient and isinstance(problem, NotYet)):  # what is there in a moment needs nobody to stand in
                self._stand_in(pointer)
            raise
        before = [held for held in self._resident if held.id != wanted.id] or self._previous(pointer)
        still_used = self._still_used() if len(before) > 1 else ()
        # one assignment: requests in flight keep the generation they began with
        self._resident = (wanted, *before[:1], *(held for held in before[1:] if held.id in still_used))
        self._loaded(wanted.number)
        log.info("generation_current generation=%s revision=%d", wanted.id, pointer.revision)

    def _stand_in(self, pointer: Pointer) -> None:
        """Have a replica that has nothing yet answer with the generation before the pointer's, where that can be had."""
        if self._resident:
            return
        self._resident = tuple(self._previous(pointer))
        for held in self._resident:
            self._loaded(held.number)
            log.warning("generation_stands_in generation=%s current=%s", held.id, pointer.generation)

    def _previous(self, pointer: Pointer) -> list[H]:
        """Return the generation before the pointer's, where it can be had: a fresh replica answers for it as the others do."""
        if self._resident or pointer.previous is None:
            return []
        try:
            return [self._load(pointer.previous, None)]
        except NotYet:
            return []
        except Exception as error:
            # it is not needed to answer
            if str(error) != self._lacked:
                log.warning("previous_generation_not_loaded generation=%s problem=%s", pointer.previous, error)
            self._lacked = str(error)
            return []

    def _beat(self) -> None:
        resident, problem = self._state()
        heartbeat = Heartbeat(
            replica=self._replica,
            deployment=self._deployment,
            generation=resident[0] if resident else "",
            resident=resident,
            beaten=self._clock(),
            problem=problem,
            host=platform.node(),
            process=os.getpid(),
            live=self.live.told(resident),
        )
        try:
            self._registry.roster.beat(heartbeat)
            self._beaten = True
        except Unavailable as error:
            if self._beaten:
                log.error("heartbeat_not_written problem=%s", error)
            self._beaten = False
        self._beating()

    def _state(self) -> tuple[tuple[str, ...], str]:
        return tuple(held.id for held in self._resident), self._problem
