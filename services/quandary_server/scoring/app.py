"""The Serve application in the `packed` topology: every replica holds a whole generation."""

from pathlib import Path
from typing import Any

from ray import serve
from ray.serve import metrics as serve_metrics

from quandary.options import ScoringOptions
from quandary_server import metrics
from quandary_server.auth import Keyring
from quandary_server.clock import now
from quandary_server.registry.directory import Registry
from quandary_server.scoring.engine import Engine, Work
from quandary_server.scoring.keeper import Keeper
from quandary_server.scoring.open_inference.servicer import INFERENCE_SERVICE, OpenInferenceServicer
from quandary_server.scoring.servicer import SERVICE, ScoringServicer
from quandary_server.settings import ScoringSettings
from quandary_server.wire.door import Door
from quandary_server.wire.frames import Limits
from quandary_server.wire.health import HealthServicer

DEPLOYMENT = "Scoring"
APPLICATION = "quandary"

BACKSTOP_ONGOING = 10_000
"""An open stream holds one of Serve's ongoing requests all its life, so that is no measure of work: the engine admits."""


class Meters:
    """The metrics of one replica."""

    def __init__(self) -> None:
        self._calls = _counter(metrics.SCORING_CALLS)
        self._seconds = _histogram(metrics.SCORING_CALL_SECONDS)
        self._frames = _counter(metrics.SCORING_FRAMES)
        self._crops = _counter(metrics.SCORING_CROPS)
        self._compute = _histogram(metrics.SCORING_COMPUTE_SECONDS)
        self._waiting = _gauge(metrics.SCORING_WAITING_CROPS)
        self._generation = _gauge(metrics.SCORING_GENERATION)
        self._loads = _counter(metrics.SCORING_LOADS)
        self._generation.set(0)

    def call(self, method: str, code: str, seconds: float) -> None:
        """Count a call."""
        self._calls.inc(tags={"method": method, "code": code})
        self._seconds.observe(seconds, tags={"method": method})

    def work(self, options: ScoringOptions, work: Work, waiting: int) -> None:
        """Count what a request was made of."""
        for outcome, frames in (("scored", work.scored), ("error", work.refused)):
            if frames:
                self._frames.inc(frames, tags={"outcome": outcome})
        if work.crops:
            self._crops.inc(work.crops)
        self._compute.observe(work.seconds, tags={"estimator": options.estimator.value})
        self._waiting.set(waiting)

    def loaded(self, number: int | None) -> None:
        """Count a generation that was loaded, or that could not be (None)."""
        self._loads.inc(tags={"outcome": "failed" if number is None else "ok"})
        if number is not None:
            self._generation.set(number)


class ScoringIngress(ScoringServicer, OpenInferenceServicer, HealthServicer):
    """One replica."""

    def __init__(self, settings: ScoringSettings, registry: Path, tokens: Path) -> None:
        meters = Meters()
        limits = limits_of(settings)
        replica = serve.get_replica_context().replica_id.unique_id
        keeper = Keeper(Registry(registry), replica, settings.provider, settings.poll, now, meters.loaded)
        engine = Engine(limits, settings.max_waiting_crops, meters.work)
        door = Door(Keyring(tokens, now), meters.call)
        ScoringServicer.__init__(self, door, keeper, engine, limits, replica, settings.stream_window)
        OpenInferenceServicer.__init__(self, door, keeper, engine, limits)
        HealthServicer.__init__(self, dict.fromkeys((SERVICE, INFERENCE_SERVICE), lambda: bool(keeper.resident)))
        keeper.start()

    def __del__(self) -> None:
        """Serve calls this when the replica is drained."""
        self.keeper.stop()
        self.engine.close()


def limits_of(settings: ScoringSettings) -> Limits:
    """Return the limits of the settings."""
    return Limits(
        settings.max_frames,
        settings.max_proposals,
        settings.max_crops,
        settings.max_points,
        settings.max_message_bytes,
    )


def application(settings: ScoringSettings, registry: Path, tokens: Path) -> serve.Application:
    """Return the Serve application of the settings."""
    deployment = serve.deployment(
        name=DEPLOYMENT,
        num_replicas=settings.replicas,
        max_ongoing_requests=BACKSTOP_ONGOING,
        ray_actor_options={"num_cpus": settings.replica_cpus},
        graceful_shutdown_timeout_s=5,
        health_check_period_s=5,
    )(ScoringIngress)
    bound: serve.Application = deployment.bind(settings, registry.resolve(), tokens.resolve())
    return bound


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
