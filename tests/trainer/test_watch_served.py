"""The watch over a service that really answers: what passes verification and warm-up, and then does badly, goes back."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from support.generations import SMALL, Sick, untrained
from support.scoring import ScoringService, register
from support.waiting import wait_for

from quandary import DeadlineExceeded, Frame, ScoringOptions
from quandary_server import metrics
from quandary_server.clock import now
from quandary_server.registry.directory import Artefacts
from quandary_server.settings.promotion import WatchSettings
from quandary_server.storage.store import Store
from quandary_server.trainer.live_quality import LiveQuality
from quandary_server.trainer.moves import Moves
from quandary_server.trainer.promotion import promote
from quandary_server.trainer.watch import Watch

BOUNDS = WatchSettings(min_answers=20)
CALLS, FRAMES = 25, 2
PATIENCE = timedelta(seconds=3)


class Served:
    """A replica that answers, and the trainer's watch over it."""

    def __init__(self, home: Path, store: Store, good: Artefacts) -> None:
        self.service, self.store = ScoringService(home, good), store
        self.scraped, registry = CollectorRegistry(), self.service.registry
        self.moves = Moves(store, self.scraped)
        quality = LiveQuality(store, registry, ScoringOptions(), good.manifest.net.side, frames=0)
        self.watch = Watch(store, registry, BOUNDS, quality, now, self.moves.tell)
        self.service.start()

    def promote(self, artefacts: Artefacts) -> str:
        """Register a generation and promote it as the trainer does; return its id."""
        registry, told = self.service.registry, self.moves.tell
        generation = register(registry, artefacts)
        promote(registry, generation, registry.pointer(), mover="ada", timeout=BOUNDS.duration, clock=now, told=told)
        self.watch.look()
        return generation

    def look(self) -> str:
        """Look, and return what is current."""
        self.watch.look()
        pointer = self.service.registry.pointer()
        return pointer.generation if pointer else ""

    def answers(self, frames: list[Frame]) -> list[Any]:
        """Return what comes of frames, some in each call."""
        with self.service.client() as client:
            calls = [frames[k : k + FRAMES] for k in range(0, len(frames), FRAMES)]
            return [result for call in calls for result in client.score_frames(call).results]

    def given_up(self, frame: Frame) -> None:
        """Ask for a frame that is not answered in time."""
        with self.service.client() as client, pytest.raises(DeadlineExceeded):
            client.score_frames([frame], timeout=PATIENCE)


@pytest.fixture
def served(tmp_path: Path, store: Store) -> Iterator[Served]:
    running = Served(tmp_path / "served", store, untrained(SMALL, members=2))
    yield running
    running.service.stop()


def agreeing(good: Artefacts) -> Artefacts:
    """Return a generation whose members are one, without dropout: no disagreement is left in it."""
    net = good.manifest.net.model_copy(update={"dropout": 0.0})
    return Artefacts(good.manifest.model_copy(update={"net": net}), good.members[:1] * 2)


def test_one_that_answers_as_before_stays_and_what_fails_is_too_slow_or_scores_otherwise_goes_back(
    served: Served, make_frame: Any
) -> None:
    good = untrained(SMALL, members=2)
    bad = {"errors": untrained(SMALL, 2, kind=Sick), "latency": untrained(SMALL, 2, seed=5), "scores": agreeing(good)}
    frames = [make_frame(f"f{seed}", seed) for seed in range(CALLS * FRAMES)]

    served.promote(untrained(SMALL, members=2, seed=7))
    served.answers(frames)
    stays = served.promote(good)
    served.answers(frames)
    wait_for(lambda: told_of(served, stays) >= CALLS)
    assert served.look() == stays

    for cause, artefacts in bad.items():
        generation = served.promote(artefacts)
        if cause == "latency":
            # nobody has the patience for it: not one answer comes
            with served.service.held(), ThreadPoolExecutor(CALLS) as callers:
                list(callers.map(served.given_up, frames[:CALLS]))
        else:
            found = served.answers(frames)
            assert {result.generation for result in found} == {generation}
            assert all(result.HasField("error") is (cause == "errors") for result in found)
        wait_for(lambda: served.look() == stays)
        event = served.store.audit.last_move()
        assert event is not None
        assert (event.details["cause"], event.details["generation"], event.details["before"]) == (cause, stays, generation)
        labels = {"action": "roll_back", "cause": cause}
        assert served.scraped.get_sample_value(metrics.TRAINER_POINTER_MOVES.name, labels) == 1.0
        assert {result.generation for result in served.answers(frames[:FRAMES])} == {stays}


def told_of(served: Served, generation: str) -> int:
    """Return how many answers of a generation the roster knows of."""
    beats = served.service.registry.roster.alive(now())
    return sum(counts.answers for beat in beats for counts in beat.live if counts.generation == generation)
