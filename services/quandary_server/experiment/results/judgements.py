"""How right the uncertainty is, over seeds: sparsification, calibration, coverage, and what was never seen."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quandary.options import Estimator
from quandary_server.bench.figures import Figure, reported
from quandary_server.experiment.methods import RANDOM
from quandary_server.experiment.results.records import Records

Array = NDArray[np.float64]

ESTIMATORS = (Estimator.SOFTMAX, Estimator.MC_DROPOUT, Estimator.DEEP_ENSEMBLE, Estimator.ENSEMBLE_MC_DROPOUT)
MATCHING = {"class": "predictive_entropy", "centre": "total", "size": "total", "overlap": "total"}
"""The uncertainty that fits a kind of error; its curve is kept, and that of the default score."""

DEFAULT_SCORE = "default"
POINTS = 25
GAIN = "1 - AUSE / AUSE of random"


class Judgements:
    """What was found at the end of random sampling's complete arms, seed by seed."""

    def __init__(self, records: Records) -> None:
        self._found = {
            replay: [a.uncertainty for _, a in sorted(records.complete(replay, RANDOM).items()) if a.uncertainty is not None]
            for replay in records.settings.replays
        }

    @property
    def replays(self) -> list[str]:
        """The replays in which uncertainty was judged."""
        return [replay for replay, found in self._found.items() if found]

    def of(self, replay: str, estimator: Estimator) -> list[Mapping[str, Any]]:
        """Return the judgements of an estimator, one per seed."""
        return [found[estimator.value] for found in self._found.get(replay, []) if estimator.value in found]

    def ranked(self, replay: str, estimator: Estimator, kind: str, by: str) -> list[Mapping[str, Any]]:
        """Return the sparsifications of a kind of error by an uncertainty, of the seeds that determine it."""
        kinds = (found["sparsification"].get(kind) for found in self.of(replay, estimator))
        return [rankings[by] for rankings in kinds if rankings is not None and by in rankings]

    def sparsifications(self, replay: str, estimator: Estimator, kind: str, by: str, name: str) -> list[float]:
        """Return one number of the sparsifications, one per seed that determines it."""
        return [float(found[name]) for found in self.ranked(replay, estimator, kind, by)]

    def calibrations(self, replay: str, estimator: Estimator, stage: str, name: str) -> list[float]:
        """Return one number of the calibration, raw or calibrated, one per seed."""
        return [float(found[stage][name]) for found in self.of(replay, estimator)]


def judgement_figures(judgements: Judgements) -> Iterator[Figure]:
    """Yield what was judged, as the mean over seeds, by replay and estimator."""
    for replay in judgements.replays:
        for estimator in ESTIMATORS:
            if judgements.of(replay, estimator):
                yield from _sparsification(judgements, replay, estimator)
                yield from _calibration(judgements, replay, estimator)
                yield from _coverage(judgements.of(replay, estimator), f"{replay}_{estimator.value}")


def held_out_figures(found: Sequence[Mapping[str, Any]]) -> Iterator[Figure]:
    """Yield how well each score tells classes that training never saw: the mean AUROC over classes, of the means over seeds."""
    classes = list(dict.fromkeys(one["class"] for one in found))
    for estimator in ESTIMATORS:
        scores = dict.fromkeys(score for one in found for score in one["auroc"].get(estimator.value, {}))
        for score in scores:
            samples = []
            for name in classes:
                ones = [one for one in found if one["class"] == name and score in one["auroc"].get(estimator.value, {})]
                values = [one["auroc"][estimator.value][score] for one in ones]
                if values:
                    crops = float(np.mean([one["crops"] for one in ones]))
                    samples.append({"class": name, "value": float(np.mean(values)), "seeds": len(values), "crops": crops})
            value = float(np.mean([sample["value"] for sample in samples]))
            yield reported(f"auroc_{estimator.value}_{score}", value, "AUROC", samples)


def _sparsification(judgements: Judgements, replay: str, estimator: Estimator) -> Iterator[Figure]:
    where = f"{replay}_{estimator.value}"
    for kind, matching in MATCHING.items():
        kinds = [found["sparsification"].get(kind) for found in judgements.of(replay, estimator)]
        determined = [rankings for rankings in kinds if rankings is not None]
        yield reported(f"determined_{where}_{kind}", float(len(determined)), f"of {len(kinds)} seeds")
        for by in dict.fromkeys(name for rankings in determined for name in rankings):
            ranked = judgements.ranked(replay, estimator, kind, by)
            means = {name: float(np.mean([one[name] for one in ranked])) for name in ("ause", "aurg", "gain", "ause_random")}
            sample = means | {"gains": [float(one["gain"]) for one in ranked]}
            yield reported(f"sparsification_{where}_{kind}_{by}", means["gain"], GAIN, [sample])
            if by == matching or (by == DEFAULT_SCORE and estimator is Estimator.ENSEMBLE_MC_DROPOUT):
                yield reported(f"sparsification_curve_{where}_{kind}_{by}", means["ause"], "AUSE", _mean_curve(ranked))


def _mean_curve(ranked: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    """Return [fraction, curve, oracle] at some 25 fractions, the mean over seeds."""
    length = min(len(one["fraction"]) for one in ranked)
    kept = np.unique(np.linspace(0, length - 1, min(POINTS, length)).round().astype(int))
    means = [np.mean([np.asarray(one[name])[kept] for one in ranked], axis=0) for name in ("fraction", "curve", "oracle")]
    return [[round(float(value), 4) for value in row] for row in np.stack(means, axis=1)]


def _calibration(judgements: Judgements, replay: str, estimator: Estimator) -> Iterator[Figure]:
    found = judgements.of(replay, estimator)
    for stage in ("raw", "calibrated"):
        names = ("ece", "nll", "brier", "accuracy")
        means = {name: float(np.mean(judgements.calibrations(replay, estimator, stage, name))) for name in names}
        temperature = float(np.mean([one["temperature"] for one in found])) if stage == "calibrated" else 1.0
        sample = means | {"temperature": temperature, "seeds": len(found)}
        yield reported(f"calibration_{replay}_{estimator.value}_{stage}", means["ece"], "ECE", [sample])
        bins = _pooled_bins([one[stage]["reliability"] for one in found])
        yield reported(f"reliability_{replay}_{estimator.value}_{stage}", float(len(bins)), "bins with crops", bins)


def _pooled_bins(found: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    """Return [confidence, accuracy, crops] of the bins that hold any, the crops of all seeds together."""
    counts = np.sum([one["counts"] for one in found], axis=0)
    weighed = [np.sum([np.multiply(one[name], one["counts"]) for one in found], axis=0) for name in ("confidence", "accuracy")]
    return [
        [float(confidence / count), float(accuracy / count), int(count)]
        for confidence, accuracy, count in zip(*weighed, counts, strict=True)
        if count
    ]


def _coverage(found: Sequence[Mapping[str, Any]], where: str) -> Iterator[Figure]:
    for stage, nll in (("raw", "nll"), ("scaled", "nll_scaled")):
        covered = [one["coverage"] for one in found]
        shares = {level: _mean([one[stage][level] for one in covered]) for level in covered[0][stage]}
        gaps = [np.abs(values - float(level)) for level, values in shares.items()]
        sample = {
            "parameters": list(covered[0]["parameters"]),
            "levels": {level: values.tolist() for level, values in shares.items()},
            "nll": _mean([one[nll] for one in covered]).tolist(),
            "seeds": len(found),
        }
        yield reported(f"coverage_{where}_{stage}", float(np.mean(gaps)), "mean gap to the level", [sample])


def _mean(rows: Sequence[Sequence[float]]) -> Array:
    return np.asarray(np.mean(np.asarray(rows, np.float64), axis=0))
