import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.records import record_of
from support.scoring import ScoringService

from quandary.records import FrameRecord
from quandary_server.experiment.demo.scoring_loop import ScoringLoop
from quandary_server.registry.directory import Artefacts


@pytest.fixture
def service(tmp_path: Path, generation: Artefacts) -> Iterator[ScoringService]:
    """A service without a generation."""
    service = ScoringService(tmp_path, generation)
    service.start()
    yield service
    service.stop()


@pytest.fixture
def record(tmp_path: Path, make_frame: Any) -> FrameRecord:
    return record_of(make_frame("a"), tmp_path / "clouds")


def looped(service: ScoringService, token: str, record: FrameRecord, done: Callable[[ScoringLoop], bool]) -> ScoringLoop:
    """Return a loop that ran until it was done, 10 s at most."""
    loop = ScoringLoop(service.target, token, [record])
    loop.start()
    deadline = time.monotonic() + 10
    while not done(loop) and time.monotonic() < deadline:
        time.sleep(0.01)
    loop.stop()
    return loop


def test_answers_are_counted_by_generation(service: ScoringService, record: FrameRecord) -> None:
    generation = service.register()
    service.promote(generation)
    loop = looped(service, service.token, record, lambda loop: loop.answers.total() > 1)
    assert set(loop.answers) == {generation}
    assert not loop.problems


def test_not_one_answer_is_a_problem(service: ScoringService, record: FrameRecord) -> None:
    loop = looped(service, service.token, record, lambda _: True)
    loop.stop()
    assert dict(loop.problems) == {"not one answer": 1}


def test_a_failure_is_counted_by_its_name(service: ScoringService, record: FrameRecord) -> None:
    service.promote(service.register())
    loop = looped(service, "wrong", record, lambda loop: bool(loop.problems))
    assert any(problem.startswith("Unauthenticated: ") for problem in loop.problems)
