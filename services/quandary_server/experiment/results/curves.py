"""Learning curves with intervals, classes queried, time spent: figures of a replay's rounds."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from quandary.options import Estimator
from quandary_server.bench.figures import Figure, reported
from quandary_server.experiment.methods import RANDOM
from quandary_server.experiment.replay.rounds import ArmRecord, JudgedClasses
from quandary_server.experiment.results.measures import MEASURES, Measure, curve_name, middle
from quandary_server.experiment.results.records import Records, curve_of, own_estimator, shared_rounds

Array = NDArray[np.float64]

LEVEL = 0.95
TIMES = ("labels", "steps", "wall_seconds", "cpu_seconds")


def curve_figures(records: Records, replay: str) -> Iterator[Figure]:
    """Yield every method's curve by measure; random sampling's also as the estimators of the other methods judge it.

    Samples are [labels, mean, low, high, seeds] by round, low and high the 95 % t-interval over seeds, None for one seed. Of
    complete arms; where there are none yet, of the rounds that all begun arms have.
    """
    for arm, estimator, arms in _curves(records, replay):
        for measure in MEASURES:
            points = _points(arms, estimator, measure)
            if points:
                yield reported(curve_name(replay, arm, measure.name), points[-1][1], measure.unit, points)


def class_figures(records: Records, replay: str) -> Iterator[Figure]:
    """Yield the mix of classes that each method queried after the first labels, and that of the whole pool.

    Samples are the mixes at the budgets that all methods share but the first; the value is that at the middle one, the
    effective number of classes: exp of the mix's entropy. At the last, where little of the pool is left, all look alike.
    """
    arms = {method: _told(records, replay, method) for method in records.methods(replay)}
    rounds = shared_rounds([arm for found in arms.values() for arm in found])
    if rounds > 1:
        for method, found in arms.items():
            if found:
                yield _mixes(f"classes_{replay}_{method}", [_mix(found, i, since_first=True) for i in range(1, rounds)])
    complete = list(records.complete(replay, RANDOM).values())
    if complete and records.settings.replays[replay].full_pool:
        yield _mixes(f"classes_{replay}_pool", [_mix(complete, -1, since_first=False)])


def judged_classes_figure(judged: Mapping[str, JudgedClasses], replay: str) -> Iterator[Figure]:
    """Yield which classes a replay's macro recall is over, with their crops in the evaluation drives, where that is known."""
    if found := judged.get(replay):
        yield reported(f"macro_recall_classes_{replay}", float(len(found.judged)), "classes", [found.model_dump()])


def time_figures(records: Records, replay: str) -> Iterator[Figure]:
    """Yield the time of each method's rounds; samples are [labels, steps, wall seconds, CPU seconds] by round."""
    for method in records.methods(replay):
        arms = _told(records, replay, method)
        rounds = shared_rounds(arms)
        if rounds:
            samples = [
                [float(np.mean([getattr(arm.rounds[i], name) for arm in arms])) for name in TIMES] for i in range(rounds)
            ]
            wall = float(np.mean([sample[2] for sample in samples]))
            yield reported(f"round_seconds_{replay}_{method}", wall, "s of wall time per round", samples)


def completeness_figure(records: Records, replay: str) -> Figure:
    """Return how many arms are complete; samples tell complete, begun and asked for by method."""
    asked = records.settings.replays[replay].methods
    counts = {m: [len(records.complete(replay, m)), len(records.begun(replay, m)), seeds] for m, seeds in asked.items()}
    complete = float(sum(count[0] for count in counts.values()))
    return reported(f"complete_{replay}", complete, f"of {sum(asked.values())} arms", [counts])


def _told(records: Records, replay: str, method: str) -> list[ArmRecord]:
    """Return the complete arms of a method; where there are none, those begun."""
    return list((records.complete(replay, method) or records.begun(replay, method)).values())


def _curves(records: Records, replay: str) -> Iterator[tuple[str, Estimator, list[ArmRecord]]]:
    for method in records.methods(replay):
        yield method, own_estimator(method), _told(records, replay, method)
    others = dict.fromkeys(own_estimator(m) for m in records.methods(replay) if own_estimator(m) != own_estimator(RANDOM))
    for estimator in others:
        yield f"{RANDOM}_{estimator.value}", estimator, _told(records, replay, RANDOM)


def _points(arms: Sequence[ArmRecord], estimator: Estimator, measure: Measure) -> list[list[Any]]:
    curves = [curve for arm in arms if (curve := curve_of(arm, estimator, measure)) is not None]
    rounds = min((len(curve.values) for curve in curves), default=0)
    points: list[list[Any]] = []
    for i in range(rounds):
        labels = float(np.mean([curve.labels[i] for curve in curves]))
        points.append([round(labels, 1), *mean_interval(np.array([curve.values[i] for curve in curves])), len(curves)])
    return points


def mean_interval(values: Array) -> tuple[float, float | None, float | None]:
    """Return the mean of values (S,) and the ends of its t-interval, None for a single value."""
    mean = float(values.mean())
    if len(values) < 2:
        return mean, None, None
    reach = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return mean, mean - reach, mean + reach


def _mixes(name: str, mixes: list[dict[str, Any]]) -> Figure:
    return reported(name, middle(mixes)["effective"], "classes, effective number", mixes)


def _mix(arms: Sequence[ArmRecord], index: int, *, since_first: bool) -> dict[str, Any]:
    counts: dict[str, float] = {}
    for arm in arms:
        for class_name, count in arm.rounds[index].classes.items():
            before = arm.rounds[0].classes.get(class_name, 0) if since_first else 0
            counts[class_name] = counts.get(class_name, 0) + count - before
    total = sum(counts.values())
    shares = {class_name: count / max(total, 1) for class_name, count in counts.items()}
    spread = np.array([share for share in shares.values() if share > 0])
    labels = float(np.mean([arm.rounds[index].labels for arm in arms]))
    return {"labels": round(labels, 1), "effective": float(np.exp(-(spread * np.log(spread)).sum())), "shares": shares}
