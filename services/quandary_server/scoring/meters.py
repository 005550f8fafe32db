"""The metrics of a scoring replica; Ray tells the deployments and replicas apart."""

from typing import Any

from ray.serve import metrics as serve_metrics

from quandary.options import ScoringOptions
from quandary_server import metrics
from quandary_server.scoring.work import Work


class LoadMeters:
    """What every replica counts: the generations that it loads."""

    def __init__(self) -> None:
        self._generation = _gauge(metrics.SCORING_GENERATION)
        self._away = _gauge(metrics.SCORING_REGISTRY_AWAY)
        self._loads = _counter(metrics.SCORING_LOADS)
        self._number, self._reached = 0, True

    def loaded(self, number: int | None) -> None:
        """Count a generation that was loaded, or that could not be (None)."""
        self._loads.inc(tags={"outcome": "failed" if number is None else "ok"})
        if number is not None:
            self._number = number
        self.refresh()

    def reached(self, reached: bool) -> None:
        """Tell whether the registry can be read."""
        self._reached = reached
        self._away.set(0.0 if reached else 1.0)

    def refresh(self) -> None:
        """Tell the gauges anew: Ray forgets one that was not set for 10 to 20 s."""
        self._generation.set(self._number)
        self.reached(self._reached)


class MemberMeters(LoadMeters):
    """The metrics of a replica that holds one member."""

    def __init__(self) -> None:
        super().__init__()
        self._drawn = _histogram(metrics.SCORING_DRAW_SECONDS)

    def drawn(self, seconds: float) -> None:
        """Count a call of the ingress."""
        self._drawn.observe(seconds)


class Meters(LoadMeters):
    """The metrics of a replica of the ingress."""

    def __init__(self) -> None:
        super().__init__()
        self._calls = _counter(metrics.SCORING_CALLS)
        self._seconds = _histogram(metrics.SCORING_CALL_SECONDS)
        self._frames = _counter(metrics.SCORING_FRAMES)
        self._crops = _counter(metrics.SCORING_CROPS)
        self._escalated = _counter(metrics.SCORING_ESCALATED_CROPS)
        self._compute = _histogram(metrics.SCORING_COMPUTE_SECONDS)
        self._arrivals = _counter(metrics.SCORING_ARRIVALS)
        self._queue = _histogram(metrics.SCORING_QUEUE_SECONDS)
        self._batches = _counter(metrics.SCORING_BATCHES)
        self._dropped = _counter(metrics.SCORING_DROPPED)
        self._unfinished = _gauge(metrics.SCORING_UNFINISHED_SECONDS)
        self._unfinished_s = {"call": 0.0, "stream": 0.0}

    def call(self, method: str, code: str, seconds: float) -> None:
        """Count a call."""
        self._calls.inc(tags={"method": method, "code": code})
        self._seconds.observe(seconds, tags={"method": method})

    def arrived(self, kind: str, outcome: str) -> None:
        """Count a request that was admitted or refused."""
        self._arrivals.inc(tags={"kind": kind, "outcome": outcome})

    def begun(self, kind: str, waited_s: float, together: int) -> None:
        """Count a request whose first turn came, with others or alone."""
        self._queue.observe(waited_s, tags={"kind": kind})
        # each of a batch tells its part of it
        self._batches.inc(1.0 / together)

    def dropped(self, kind: str, cause: str) -> None:
        """Count a request given up before its end."""
        self._dropped.inc(tags={"kind": kind, "cause": cause})

    def unfinished(self, kind: str, work_s: float) -> None:
        """Tell the work that is admitted and not done."""
        self._unfinished_s[kind] = work_s
        self._unfinished.set(work_s, tags={"kind": kind})

    def refresh(self) -> None:
        """Tell the gauges anew."""
        super().refresh()
        for kind, work_s in self._unfinished_s.items():
            self._unfinished.set(work_s, tags={"kind": kind})

    def work(self, options: ScoringOptions, work: Work) -> None:
        """Count what a request was made of."""
        for outcome, frames in (("scored", work.scored), ("error", work.refused)):
            if frames:
                self._frames.inc(frames, tags={"outcome": outcome})
        estimator = {"estimator": options.estimator.value}
        if work.crops:
            self._crops.inc(work.crops, tags=estimator)
        if work.escalated:
            self._escalated.inc(work.escalated)
        self._compute.observe(work.seconds, tags=estimator)


def _counter(metric: metrics.Metric) -> serve_metrics.Counter:
    return serve_metrics.Counter(metric.name, description=metric.text, tag_keys=_tags(metric))


def _gauge(metric: metrics.Metric) -> serve_metrics.Gauge:
    return serve_metrics.Gauge(metric.name, description=metric.text, tag_keys=_tags(metric))


def _histogram(metric: metrics.Metric) -> serve_metrics.Histogram:
    boundaries = list(metric.buckets)
    return serve_metrics.Histogram(metric.name, description=metric.text, boundaries=boundaries, tag_keys=_tags(metric))


def _tags(metric: metrics.Metric) -> Any:
    # Ray declares the tuple with one element only
    return metric.labels
