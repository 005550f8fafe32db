"""A selector that is killed at random points applies every record once, whatever log it reads.

Kafka in full too, with figures, which takes some minutes:
pytest tests/streams --stream-records 20000 --stream-kills 10 --stream-figures tests/bench/results/killed.json
"""

import random
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.kafka_broker import KafkaBroker
from support.selecting import POISON_EVERY, Ledger, Selectors, file_settings, publish, scored_records
from support.waiting import wait_for

from quandary import Calibration
from quandary_server.bench.figures import Figure, at_most
from quandary_server.clock import now
from quandary_server.selector.open_log import look_at_log
from quandary_server.settings import Settings
from quandary_server.storage.store import Store

pytestmark = pytest.mark.timeout(1800)


@dataclass(frozen=True)
class Size:
    """How many records, and how many kills among them."""

    records: int
    kills: int

    @classmethod
    def of(cls, config: pytest.Config, records: int, kills: int) -> "Size":
        """Return what was asked for, by default these."""
        return cls(config.getoption("--stream-records", None) or records, config.getoption("--stream-kills", None) or kills)


def kill_again_and_again(settings: Settings, size: Size, calibration: Calibration, selectors: Selectors) -> Figure:
    """Kill a selector at so many points of so many records; return how many were not applied, or rejected, exactly once."""
    started = time.monotonic()
    publish(settings, scored_records(size.records, calibration))
    ledger, rng = Ledger(settings), random.Random(0)
    # a kill waits for a point of its own, which lies before the last batches: else there is nothing to interrupt
    for kill in range(size.kills):
        low, high = (round(size.records * 0.9 * (kill + end) / size.kills) for end in (0, 1))
        selector = selectors.start(settings)
        ledger.wait_for(rng.randint(low, high))
        strike = time.perf_counter() + rng.uniform(0, 0.02)  # about a batch
        while time.perf_counter() < strike:
            pass
        selectors.kill(selector)
        assert ledger.done() < size.records, "killed in the middle, or the test shows nothing"
    selectors.start(settings)
    ledger.wait_for(size.records)
    with Store.open(settings.database) as store, look_at_log(settings, store, now) as log:
        # the offset moves with the records, but the end of a file is an entry of its own
        wait_for(lambda: not sum(lag.waiting for lag in log.lags(store.intake.offset)))
    selectors.stop()
    wrong = not_exactly_once(ledger, size.records)
    counts = {"applied": len(ledger.applied()), "rejected": len(ledger.rejected()), "killed": size.kills}
    ledger.close()
    unit = f"records of {size.records}, a selector killed {size.kills} times, not applied or rejected exactly once"
    seconds = round(time.monotonic() - started, 1)
    return at_most(f"killed_{settings.selector.log_kind}", wrong, unit, 0, [{**counts, "seconds": seconds}])


def not_exactly_once(ledger: Ledger, records: int) -> int:
    """Return how many records were not applied once, by what wrote the tasks, or rejected once where they are poison."""
    poison = {f"f{i:06d}" for i in range(records) if i % POISON_EVERY == POISON_EVERY - 1}
    frames = {f"f{i:06d}" for i in range(records)} - poison
    applied, rejected = ledger.applied(), Counter(ledger.rejected())
    due = Counter({(frame, "added"): 1 for frame in frames})
    return ((applied - due) + (due - applied)).total() + ((rejected - Counter(poison)) + (Counter(poison) - rejected)).total()


def test_a_sqlite_log_is_applied_once(
    tmp_path: Path, calibration: Calibration, selectors: Selectors, pytestconfig: pytest.Config, figures: list[Figure]
) -> None:
    settings = file_settings(tmp_path, "sqlite", log_partitions=3)
    figures.append(kill_again_and_again(settings, Size.of(pytestconfig, 20_000, 10), calibration, selectors))
    assert figures[-1].met


def test_a_directory_of_mcap_files_is_applied_once(
    tmp_path: Path, calibration: Calibration, selectors: Selectors, pytestconfig: pytest.Config, figures: list[Figure]
) -> None:
    settings = file_settings(tmp_path, "mcap", mcap={"rotate_bytes": 100_000})
    figures.append(kill_again_and_again(settings, Size.of(pytestconfig, 20_000, 10), calibration, selectors))
    assert figures[-1].met


def test_a_kafka_topic_is_applied_once(
    tmp_path: Path,
    calibration: Calibration,
    selectors: Selectors,
    broker: KafkaBroker,
    pytestconfig: pytest.Config,
    figures: list[Figure],
) -> None:
    settings = file_settings(tmp_path, "kafka", kafka=broker.settings("killed"))
    # the mock takes 3 s to settle a group at first and 4.5 s to notice that a member died: two kills are 12 s of waiting
    figures.append(kill_again_and_again(settings, Size.of(pytestconfig, 3_000, 2), calibration, selectors))
    assert figures[-1].met
