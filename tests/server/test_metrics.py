import re
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from quandary.errors import Unavailable
from quandary_server import metrics
from quandary_server.metrics import Metric

EVERY = [value for value in vars(metrics).values() if isinstance(value, Metric)]


@pytest.mark.parametrize("metric", EVERY, ids=lambda metric: metric.name)
def test_names_follow_the_scheme_and_say_what_they_are(metric: Metric) -> None:
    assert re.fullmatch(r"quandary_(scoring|selector|trainer)_[a-z_]+", metric.name)
    if metric.buckets:
        assert metric.name.endswith("_seconds")
        assert list(metric.buckets) == sorted(metric.buckets)
    assert metric.text
    bounded = {"method", "code", "outcome", "estimator", "queue", "state", "figure", "kind", "cause", "reason", "source"}
    bounded |= {"action", "generation"}
    assert set(metric.labels) <= bounded


def test_names_are_given_once() -> None:
    assert len({metric.name for metric in EVERY}) == len(EVERY)


def test_state_is_read_at_every_scrape() -> None:
    depth = [3.0]

    def read() -> list[metrics.Sample]:
        return [(metrics.SELECTOR_TASKS, ("active", "waiting"), depth[0]), (metrics.SELECTOR_TASKS, ("active", "leased"), 1.0)]

    registry = CollectorRegistry()
    registry.register(metrics.StateCollector(read))
    assert 'quandary_selector_tasks{queue="active",state="waiting"} 3.0' in generate_latest(registry).decode()
    depth[0] = 8.0
    scraped = generate_latest(registry).decode()
    assert 'quandary_selector_tasks{queue="active",state="waiting"} 8.0' in scraped
    assert scraped.count("# TYPE quandary_selector_tasks gauge") == 1


def test_a_source_that_cannot_be_read_costs_the_others_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def half() -> Iterator[metrics.Sample]:
        yield metrics.SELECTOR_TASKS, ("active", "waiting"), 3.0
        raise Unavailable("the database is locked")

    registry = CollectorRegistry()
    registry.register(metrics.StateCollector(half, lambda: [(metrics.SELECTOR_LAG, ("3",), 7.0)]))
    scraped = generate_latest(registry).decode()
    assert 'quandary_selector_tasks{queue="active",state="waiting"} 3.0' in scraped
    assert 'quandary_selector_log_lag{source="3"} 7.0' in scraped
    assert "state_not_read source=half problem=the database is locked" in caplog.text
