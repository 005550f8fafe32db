"""Selectors of a group share a log; what one that is killed or hangs has left, the others read."""

from pathlib import Path
from typing import Any

from support.kafka_broker import KafkaBroker
from support.selecting import Ledger, Selectors, file_settings, publish, scored_records

from quandary import Calibration
from quandary_server.settings import Settings

AT_ONCE, MOST = 40, 4000


def both_then_one(settings: list[Settings], calibration: Calibration, selectors: Selectors) -> None:
    """Two selectors read a log; one hangs amid its share until the other has read all, goes on where it was, and is killed."""
    records = scored_records(MOST + 3000, calibration)
    ledger, published = Ledger(settings[0]), 0

    def publish_more(count: int) -> None:
        nonlocal published
        publish(settings[0], records[published : published + count])
        published += count

    failing, _ = [selectors.start(of) for of in settings]
    while min(ledger.applied_by(of) for of in settings) == 0:
        assert published < MOST, "both should have a share"
        publish_more(AT_ONCE)
        ledger.wait_for(published)

    publish_more(2000)
    ledger.wait_for(published - 1900)
    with selectors.hanging(failing, ledger):
        ledger.wait_for(published)
    publish_more(500)
    ledger.wait_for(published)

    selectors.kill(failing)
    publish_more(500)
    ledger.wait_for(published)
    assert set(ledger.applied().values()) == {1}
    assert len(ledger.applied()) + len(ledger.rejected()) == published
    ledger.close()


def members(folder: Path, kind: str, **selector: Any) -> list[Settings]:
    return [file_settings(folder, kind, member=name, **selector) for name in ("ada", "bob")]


def test_sqlite_by_partitions(tmp_path: Path, calibration: Calibration, selectors: Selectors) -> None:
    both_then_one(members(tmp_path, "sqlite", log_partitions=8), calibration, selectors)


def test_mcap_by_files(tmp_path: Path, calibration: Calibration, selectors: Selectors) -> None:
    both_then_one(members(tmp_path, "mcap", mcap={"rotate_bytes": 5_000}), calibration, selectors)


def test_kafka_by_partitions(tmp_path: Path, calibration: Calibration, selectors: Selectors, broker: KafkaBroker) -> None:
    both_then_one(members(tmp_path, "kafka", kafka=broker.settings("shared")), calibration, selectors)
