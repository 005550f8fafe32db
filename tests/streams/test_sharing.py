"""Selectors of a group share a log; what one that is killed or hangs has left, the others read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.kafka_broker import KafkaBroker
from support.selecting import Ledger, Selectors, file_settings, publish, scored_records

from quandary import Calibration
from quandary_server.settings import Settings

AT_ONCE, MOST = 40, 4000

Story = Callable[[list[Settings], Calibration, Selectors], None]


def both_then_one(settings: list[Settings], calibration: Calibration, selectors: Selectors) -> None:
    """Two selectors read a log until both have applied some of it; one is killed, and the other reads all that comes."""
    records = scored_records(MOST + 1000, calibration)
    ledger, published = Ledger(settings[0]), 0
    killed, _ = [selectors.start(of) for of in settings]
    while min(ledger.applied_by(of) for of in settings) == 0:
        assert published < MOST, "both should have a share"
        publish(settings[0], records[published : published + AT_ONCE])
        published += AT_ONCE
        ledger.wait_for(published)

    selectors.kill(killed)
    publish(settings[0], records[published : published + 1000])
    ledger.wait_for(published + 1000)
    assert set(ledger.applied().values()) == {1}
    ledger.close()


def one_hangs_then_goes_on(settings: list[Settings], calibration: Calibration, selectors: Selectors) -> None:
    """Two selectors read a log; one hangs amid its share until the other has read all of it, then goes on with what it had."""
    records = scored_records(MOST + 3000, calibration)
    ledger, published = Ledger(settings[0]), 0
    hung, _ = [selectors.start(of) for of in settings]
    while min(ledger.applied_by(of) for of in settings) == 0:
        assert published < MOST, "both should have a share"
        publish(settings[0], records[published : published + AT_ONCE])
        published += AT_ONCE
        ledger.wait_for(published)

    publish(settings[0], records[published : published + 2000])
    ledger.wait_for(published + 200)
    with selectors.hanging(hung, ledger):
        ledger.wait_for(published + 2000)
    publish(settings[0], records[published + 2000 : published + 3000])
    ledger.wait_for(published + 3000)
    assert set(ledger.applied().values()) == {1}
    assert len(ledger.applied()) + len(ledger.rejected()) == published + 3000
    ledger.close()


def members(folder: Path, kind: str, **selector: Any) -> list[Settings]:
    return [file_settings(folder, kind, member=name, **selector) for name in ("ada", "bob")]


@pytest.mark.parametrize("tell", [both_then_one, one_hangs_then_goes_on])
def test_sqlite_by_partitions(tmp_path: Path, calibration: Calibration, selectors: Selectors, tell: Story) -> None:
    tell(members(tmp_path, "sqlite", log_partitions=8), calibration, selectors)


@pytest.mark.parametrize("tell", [both_then_one, one_hangs_then_goes_on])
def test_mcap_by_files(tmp_path: Path, calibration: Calibration, selectors: Selectors, tell: Story) -> None:
    tell(members(tmp_path, "mcap", mcap={"rotate_bytes": 5_000}), calibration, selectors)


@pytest.mark.parametrize("tell", [both_then_one, one_hangs_then_goes_on])
def test_kafka_by_partitions(
    tmp_path: Path, calibration: Calibration, selectors: Selectors, broker: KafkaBroker, tell: Story
) -> None:
    tell(members(tmp_path, "kafka", kafka=broker.settings(tell.__name__)), calibration, selectors)
