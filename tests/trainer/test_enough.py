"""What a run is refused for before it trains, and that it says what is missing."""

from pathlib import Path
from typing import Any

import pytest

from quandary.errors import TooLittleData
from quandary_server.settings.trainer import TrainerSettings
from quandary_server.storage.snapshots import Snapshot
from quandary_server.storage.store import Store
from quandary_server.trainer.enough import check_enough
from quandary_server.trainer.labelled import examples_of_snapshot


@pytest.fixture
def check(store: Store, label: Any, tmp_path: Path) -> Any:
    """Labels four frames to train on and four of control drives, loses the clouds of some, and checks."""

    def some(settings: TrainerSettings, *lost: str) -> None:
        label(4)
        label(4, queue="control")
        for name in lost:
            (tmp_path / "clouds" / f"{name}.bin").unlink()
        snapshot = Snapshot(store.labels.all(), "digest")
        check_enough(snapshot, examples_of_snapshot(snapshot.frames, settings.net.side), settings)

    return some


def test_what_is_missing_is_named_with_its_bound(check: Any) -> None:
    with pytest.raises(TooLittleData) as found:
        check(TrainerSettings(min_crops=13))
    assert str(found.value) == "too little to train on: training_crops is 12, must be at least 13"


def test_a_few_clouds_may_be_gone(check: Any) -> None:
    check(TrainerSettings(min_crops=6), "f1", "f2", "f7", "f8")


def test_without_the_clouds_of_control_drives_nothing_would_be_judged(check: Any) -> None:
    with pytest.raises(TooLittleData, match="unreadable_control_frames is 3 of 4, must be at most 50% of them") as found:
        check(TrainerSettings(min_crops=12), "f5", "f6", "f7")
    assert "(the first: there is no cloud at file:///" in str(found.value)
    assert [violation.field for violation in found.value.violations] == ["unreadable_control_frames"]


def test_who_lets_clouds_go_may_say_so(check: Any) -> None:
    check(TrainerSettings(min_crops=12, max_unreadable=1.0), "f5", "f6", "f7", "f8")
