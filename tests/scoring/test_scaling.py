from types import SimpleNamespace
from typing import Any

import pytest

from quandary_server.scoring.scaling import BUSY, Busy, ByBusyShare


def test_the_busy_share_is_work_over_time_and_threads_since_it_was_last_asked() -> None:
    busy = Busy(threads=2, now=100.0)
    busy.add(1.5)
    busy.add(2.5)
    assert busy.share(now=104.0) == pytest.approx(0.5)
    assert busy.share(now=105.0) == 0.0
    busy.add(4.0)
    assert busy.share(now=106.0) == pytest.approx(2.0), "a long request counts where it ends"


@pytest.mark.parametrize(
    ("shares", "wanted"),
    [
        ({"a": 0.7}, 1.0),
        ({"a": 1.4, "b": 0.7}, 3.0),
        ({"a": 0.35, "b": 0.0}, 0.5),
    ],
)
def test_as_many_replicas_are_wanted_as_work_the_target_share(shares: dict[str, float], wanted: float) -> None:
    replicas, state = ByBusyShare(0.7)(context(2, {BUSY: shares, "running_requests": dict.fromkeys(shares, 9.0)}))
    assert replicas == pytest.approx(wanted)
    assert state == {}


@pytest.mark.parametrize("metrics", [None, {}, {BUSY: {}}, {"running_requests": {"a": 9.0}}])
def test_without_a_report_all_stays_as_it_is(metrics: Any) -> None:
    assert ByBusyShare(0.7)(context(3, metrics)) == (3, {})


def context(target: int, metrics: Any) -> Any:
    return SimpleNamespace(target_num_replicas=target, aggregated_metrics=metrics)
