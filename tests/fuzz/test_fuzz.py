"""Malformed and mutated requests to every method: each ends in a valid answer or in an error that says what is wrong.

All 20,000, with their figures: pytest tests/fuzz --fuzz-requests 20000 --fuzz-figures tests/bench/results/fuzz.json
"""

import time
from pathlib import Path

import pytest
from fuzz.attempts import Attacker, attack
from fuzz.seeds import small_frames
from fuzz.services import AllServices
from psutil import Process

from quandary import Calibration
from quandary_server.bench.figures import Figure, at_most, reported, write_document

pytestmark = pytest.mark.timeout(3600)

SHARES = {"scoring": 0.45, "open inference": 0.2, "selector": 0.17, "trainer": 0.1, "open to all": 0.08}


def test_every_request_ends_in_an_answer_or_in_what_is_wrong_with_it(
    services: AllServices, calibration: Calibration, pytestconfig: pytest.Config
) -> None:
    count: int = pytestconfig.getoption("--fuzz-requests", 400)
    attacker, frames = services.attacker(), small_frames(calibration)
    started, before = time.monotonic(), memory()
    with services.scoring.client() as client:
        expected = client.score_frames(frames).SerializeToString(deterministic=True)
        for name, methods in services.methods.items():
            attack(attacker, methods, round(SHARES[name] * count))
        assert client.score_frames(frames).SerializeToString(deterministic=True) == expected
    file: Path | None = pytestconfig.getoption("--fuzz-figures", None)
    if file is not None:
        grown = (memory() - before) / 2**20
        command = f"pytest tests/fuzz --fuzz-requests {count} --fuzz-figures tests/bench/results/fuzz.json"
        write_document(file, figures(attacker, time.monotonic() - started, grown), command)


def memory() -> int:
    return int(Process().memory_info().rss)


def figures(attacker: Attacker, seconds: float, grown_mb: float) -> list[Figure]:
    outcomes, frames = attacker.outcomes, attacker.frames
    return [
        reported("requests", float(outcomes.total()), "requests", [dict(sorted(outcomes.items()))]),
        at_most("unanswered", 0.0, "requests that ended in INTERNAL, UNKNOWN, a hang or a dead replica", 0.0),
        reported("frames", float(frames.total()), "frames answered in band", [dict(sorted(frames.items()))]),
        reported("memory_grown", grown_mb, "MB of the process that holds all services and hypothesis"),
        reported("seconds", seconds, "s"),
    ]
