"""Every metric, by name. Scoring's go through Ray, which puts `ray_` in front; selector's and trainer's are their own.

Labels are bounded: methods, status codes, kinds of requests, outcomes, causes, reasons, queues, states, estimators, figures,
generations (the current and the one before), and the partitions of a log as its sources; never a frame, file, drive or subject.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Metric:
    """A name, what it says, and its labels; histograms have buckets."""

    name: str
    text: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
RUN_SECONDS = (5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0)

SCORING_CALLS = Metric("quandary_scoring_calls_total", "Calls answered, by method and status code", ("method", "code"))
SCORING_CALL_SECONDS = Metric("quandary_scoring_call_seconds", "Time to answer a call", ("method",), SECONDS)
SCORING_FRAMES = Metric("quandary_scoring_frames_total", "Frames answered: scored or error", ("outcome",))
SCORING_CROPS = Metric("quandary_scoring_crops_total", "Crops scored", ("estimator",))
SCORING_ESCALATED_CROPS = Metric(
    "quandary_scoring_escalated_crops_total", "Crops that ESCALATE sent to the full estimator, of its crops scored"
)
SCORING_COMPUTE_SECONDS = Metric("quandary_scoring_compute_seconds", "Time in the compute thread", ("estimator",), SECONDS)
SCORING_DRAW_SECONDS = Metric("quandary_scoring_draw_seconds", "Time a member took to draw for a call (spread)", (), SECONDS)
SCORING_ARRIVALS = Metric(
    "quandary_scoring_arrivals_total",
    "Calls and frames of streams that were admitted or refused for overload",
    ("kind", "outcome"),
)
SCORING_QUEUE_SECONDS = Metric("quandary_scoring_queue_seconds", "Time until the first turn to compute", ("kind",), SECONDS)
SCORING_BATCHES = Metric(
    "quandary_scoring_batches_total", "Batches that requests had their first turns in; admitted over these is their mean size"
)
SCORING_DROPPED = Metric(
    "quandary_scoring_dropped_total", "Calls and frames given up before their end: cancelled or deadline", ("kind", "cause")
)
SCORING_UNFINISHED_SECONDS = Metric(
    "quandary_scoring_unfinished_seconds", "Estimated compute of what is admitted and not done", ("kind",)
)
SCORING_GENERATION = Metric("quandary_scoring_generation", "Number of the generation that answers, 0 before the first")
SCORING_REGISTRY_AWAY = Metric(
    "quandary_scoring_registry_away", "1 while the registry cannot be read: the replica goes on with what it has"
)
SCORING_LOADS = Metric("quandary_scoring_generation_loads_total", "Generations loaded: ok or failed", ("outcome",))

SELECTOR_CALLS = Metric("quandary_selector_calls_total", "Calls answered, by method and status code", ("method", "code"))
SELECTOR_CALL_SECONDS = Metric("quandary_selector_call_seconds", "Time to answer a call", ("method",), SECONDS)
SELECTOR_RECORDS = Metric("quandary_selector_records_total", "Log records applied or rejected", ("outcome",))
SELECTOR_RESCORED = Metric("quandary_selector_rescored_total", "Waiting tasks scored again by a newer generation", ("queue",))
SELECTOR_SCORE_SECONDS = Metric("quandary_selector_score_seconds", "Time to read, crop and score a frame", (), SECONDS)
SELECTOR_RETRIES = Metric("quandary_selector_retries_total", "Waits because scoring or storage could not be reached")
SELECTOR_TASKS = Metric("quandary_selector_tasks", "Tasks, read at scrape", ("queue", "state"))
SELECTOR_OLDEST_SECONDS = Metric("quandary_selector_oldest_waiting_seconds", "Age of the oldest waiting task", ("queue",))
SELECTOR_BEHIND = Metric("quandary_selector_tasks_behind", "Waiting tasks without a score of the newest generation", ("queue",))
SELECTOR_RESCORED_SHARE = Metric(
    "quandary_selector_rescored_share",
    "Share of waiting tasks scored by the newest generation, 1 where none waits",
    ("queue",),
)
SELECTOR_GENERATION_SEEN_SECONDS = Metric(
    "quandary_selector_generation_seen_seconds", "Time since this selector first saw the newest generation"
)
SELECTOR_RANKED = Metric(
    "quandary_selector_ranked",
    "Whether the newest generation's scores ranked the queue last",
    ("queue",),
)
SELECTOR_LEADS = Metric("quandary_selector_leads", "Whether this selector is the one that scores anew and ranks")
SELECTOR_REJECTED = Metric("quandary_selector_rejected_total", "Log records rejected, by kind of reason", ("reason",))
SELECTOR_DEAD_LETTERS = Metric("quandary_selector_dead_lettered_total", "Rejected records sent to the dead-letter topic")
SELECTOR_LOST = Metric("quandary_selector_log_lost_total", "Log records that the log let go of before they were applied")
SELECTOR_LAG = Metric("quandary_selector_log_lag", "Records of the fleet log known and not yet applied", ("source",))
SELECTOR_FILES = Metric("quandary_selector_log_files", "Files of an MCAP directory, by what they are", ("state",))

TRAINER_CALLS = Metric("quandary_trainer_calls_total", "Calls answered, by method and status code", ("method", "code"))
TRAINER_CALL_SECONDS = Metric("quandary_trainer_call_seconds", "Time to answer a call", ("method",), SECONDS)
TRAINER_RUNS = Metric("quandary_trainer_runs_total", "Runs ended, by state", ("state",))
TRAINER_RUN_SECONDS = Metric("quandary_trainer_run_seconds", "Length of a run", (), RUN_SECONDS)
TRAINER_RUNNING = Metric("quandary_trainer_running", "Whether a run is going on, read at scrape")
TRAINER_GENERATION = Metric(
    "quandary_trainer_generation", "Number of the current generation, read at scrape; 0 before the first"
)
TRAINER_POINTER_MOVES = Metric(
    "quandary_trainer_pointer_moves_total",
    "Moves of the pointer: promote or roll_back, by cause: call, run, replicas, errors, latency, scores, quality, found",
    ("action", "cause"),
)
TRAINER_WATCHING = Metric(
    "quandary_trainer_watching", "Whether the live figures of a promotion are being watched, read at scrape"
)
TRAINER_LIVE_QUALITY = Metric(
    "quandary_trainer_live_quality",
    "ause, ece, nll and crops on the newest control labels, of the current generation and the one before; "
    "ece and nll from 100 crops on, ause from 20 errors on",
    ("generation", "figure"),
)
TRAINER_NEW_CROPS = Metric("quandary_trainer_new_crops", "Labelled crops since the last run's snapshot, read at scrape")
TRAINER_DRIFT = Metric(
    "quandary_trainer_score_drift",
    "Population stability index (nats) of the live scores, as last looked at; absent for too few",
)
TRAINER_CANDIDATE = Metric("quandary_trainer_candidate", "Figures of the last candidate on control drives", ("figure",))

Sample = tuple[Metric, tuple[str, ...], float]


def counter(metric: Metric, registry: CollectorRegistry) -> Counter:
    """Return a counter of prometheus-client."""
    return Counter(metric.name, metric.text, metric.labels, registry=registry)


def histogram(metric: Metric, registry: CollectorRegistry) -> Histogram:
    """Return a histogram of prometheus-client."""
    return Histogram(metric.name, metric.text, metric.labels, buckets=metric.buckets, registry=registry)


class StateCollector(Collector):
    """Gauges whose values are read when Prometheus asks, from where the state is.

    A source that cannot be read is logged and left out; the others are told all the same.
    """

    def __init__(self, *sources: Callable[[], Iterable[Sample]]) -> None:
        self._sources = sources

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Yield the families of all samples."""
        families: dict[str, GaugeMetricFamily] = {}
        for metric, labels, value in self._samples():
            family = families.setdefault(metric.name, GaugeMetricFamily(metric.name, metric.text, labels=metric.labels))
            family.add_metric(labels, value)
        return families.values()

    def _samples(self) -> Iterator[Sample]:
        for read in self._sources:
            try:
                yield from read()
            except Exception as error:
                # whatever it is, the scrape must not fail for it
                log.warning("state_not_read source=%s problem=%s", getattr(read, "__name__", read), error)
