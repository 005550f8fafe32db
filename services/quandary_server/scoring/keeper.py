"""Keeps the generation that answers: watches the pointer, loads beside, then swaps one reference."""

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from quandary.errors import GenerationNotResident, NoGeneration
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.inference.provider import Provider
from quandary_server.inference.warm_up import warm_up
from quandary_server.registry.directory import Registry
from quandary_server.registry.pointer import Pointer
from quandary_server.registry.roster import HEARTBEAT, Heartbeat

log = logging.getLogger(__name__)

NICENESS = 10


class Keeper:
    """Current and previous generation of one replica, kept by threads of its own from `start` to `stop`.

    A generation that cannot be loaded leaves the old one answering and is told in the heartbeat. `loaded` is called with the
    number of each generation that begins to answer, and with None for each that could not be loaded.
    """

    def __init__(
        self,
        registry: Registry,
        replica: str,
        provider: Provider,
        poll: timedelta,
        clock: Callable[[], datetime],
        loaded: Callable[[int | None], None],
    ) -> None:
        self._registry, self._replica, self._provider = registry, replica, provider
        self._poll, self._clock, self._loaded = poll, clock, loaded
        # newest first; replaced as a whole, so that readers need no lock
        self._resident: tuple[LoadedGeneration, ...] = ()
        self._seen: Pointer | None = None
        self._problem = ""
        self._stop = threading.Event()
        self._changed = threading.Event()
        # loading may take longer than the roster is patient: the heart beats in a thread of its own
        self._threads = [
            threading.Thread(target=self._watch, name="generation-keeper", daemon=True),
            threading.Thread(target=self._keep_beating, name="heartbeat", daemon=True),
        ]

    def start(self) -> None:
        """Load the current generation, if there is one, and begin to watch."""
        self._look()
        self._beat()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop watching and take the replica off the roster."""
        self._stop.set()
        self._changed.set()
        for thread in self._threads:
            thread.join()
        self._registry.roster.leave(self._replica)

    @property
    def resident(self) -> tuple[LoadedGeneration, ...]:
        """The generations in memory, the current one first."""
        return self._resident

    def generation(self, pinned: str = "") -> LoadedGeneration:
        """Return the pinned generation, or the current one; raises NoGeneration or GenerationNotResident."""
        resident = self._resident
        if not pinned:
            if not resident:
                raise NoGeneration("no generation has been promoted yet: train one, or promote one from the registry")
            return resident[0]
        for generation in resident:
            if generation.id == pinned:
                return generation
        here = ", ".join(generation.id for generation in resident) or "none"
        raise GenerationNotResident(f"generation {pinned} is not resident in this replica; resident: {here}")

    def _watch(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            # on Linux a thread has a niceness of its own: loading must not slow the answers
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while not self._stop.wait(self._poll.total_seconds()):
            before = self._state()
            self._look()
            if self._state() != before:
                self._changed.set()

    def _keep_beating(self) -> None:
        while not self._stop.is_set():
            self._changed.wait(HEARTBEAT.total_seconds())
            self._changed.clear()
            if not self._stop.is_set():
                self._beat()

    def _look(self) -> None:
        """Follow the pointer."""
        try:
            pointer = self._registry.pointer()
            if pointer != self._seen:
                self._follow(pointer)
                self._seen = pointer
            self._problem = ""
        except Exception as error:
            # ONNX Runtime's errors have no base but this; whatever it is, the old generation answers on
            if str(error) != self._problem:
                log.error("generation_not_loaded problem=%s", error)
                self._loaded(None)
            self._problem = str(error)

    def _follow(self, pointer: Pointer | None) -> None:
        if pointer is None:
            self._resident = ()
            return
        wanted = next((g for g in self._resident if g.id == pointer.generation), None)
        if wanted is None:
            artefacts = self._registry.load(pointer.generation, pointer.manifest_digest)
            wanted = LoadedGeneration(artefacts, self._provider)
            warm_up(wanted)
        # one assignment: requests in flight keep the generation they began with
        self._resident = (wanted, *(g for g in self._resident if g.id != wanted.id))[:2]
        self._loaded(wanted.manifest.number)
        log.info("generation_current generation=%s revision=%d", wanted.id, pointer.revision)

    def _beat(self) -> None:
        generation, problem = self._state()
        try:
            heartbeat = Heartbeat(replica=self._replica, generation=generation, beaten=self._clock(), problem=problem)
            self._registry.roster.beat(heartbeat)
        except OSError as error:
            log.error("heartbeat_not_written problem=%s", error)

    def _state(self) -> tuple[str, str]:
        return (self._resident[0].id if self._resident else ""), self._problem
