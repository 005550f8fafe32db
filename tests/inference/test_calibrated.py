"""What a generation's temperature and variance scales do to its answers, whatever the estimator."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from support.generations import calibrated

from quandary.options import Acquisition, Estimator, ScoringOptions
from quandary_server.frustum.raster import Rasters
from quandary_server.inference.cascade import calibrate_cascade
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.inference.provider import Provider
from quandary_server.inference.scores import score_rasters
from quandary_server.registry.directory import Artefacts
from quandary_server.registry.manifest import Manifest
from quandary_server.uncertainty.samples import log_probabilities

ESTIMATORS = [e for e in Estimator if e is not Estimator.ESCALATE]
D = 9


@pytest.fixture(scope="module")
def raw(generation: Artefacts) -> LoadedGeneration:
    return LoadedGeneration(generation, Provider.CPU)


@pytest.fixture(scope="module")
def fitted(generation: Artefacts) -> LoadedGeneration:
    return LoadedGeneration(calibrated(generation), Provider.CPU)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_each_draw_is_tempered_before_the_mean(
    raw: LoadedGeneration, fitted: LoadedGeneration, rasters: Callable[[int], Rasters], estimator: Estimator
) -> None:
    options = ScoringOptions(estimator, mc_samples=5)
    scores = score_rasters(fitted, rasters(D), options)
    drawn = raw.draw(rasters(D), estimator, 5, raw.seed(None)).samples
    tempered = np.exp(log_probabilities(drawn.probs) / fitted.manifest.temperature)
    tempered /= tempered.sum(axis=-1, keepdims=True)
    assert scores.mean_probs == pytest.approx(tempered.mean(axis=0))
    assert scores.expected_entropy == pytest.approx(-(tempered * np.log(tempered)).sum(axis=-1).mean(axis=0))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_both_kinds_of_variance_are_scaled_and_the_box_stays(
    raw: LoadedGeneration, fitted: LoadedGeneration, rasters: Callable[[int], Rasters], estimator: Estimator
) -> None:
    options = ScoringOptions(estimator, mc_samples=5)
    before, after = (score_rasters(generation, rasters(D), options) for generation in (raw, fitted))
    scales = np.array(fitted.manifest.variance_scales)
    assert np.array_equal(after.aleatoric, before.aleatoric * scales)
    assert np.array_equal(after.epistemic, before.epistemic * scales)
    assert np.array_equal(after.box, before.box)


def test_scores_are_of_the_variances_that_are_told(fitted: LoadedGeneration, rasters: Callable[[int], Rasters]) -> None:
    options = ScoringOptions(acquisition=Acquisition.BOX_EPISTEMIC, mc_samples=5)
    scores = score_rasters(fitted, rasters(D), options)
    shares = np.log1p(scores.epistemic / np.array(fitted.manifest.box_scales)).mean(axis=-1)
    assert scores.score == pytest.approx((1 - scores.mean_probs[:, -1]) * shares)


def test_variance_scales_leave_the_default_score(generation: Artefacts, rasters: Callable[[int], Rasters]) -> None:
    scaled = Artefacts(generation.manifest.model_copy(update={"variance_scales": (0.3,) * 7}), generation.members)
    before, after = (LoadedGeneration(artefacts, Provider.CPU) for artefacts in (generation, scaled))
    mine, theirs = (score_rasters(there, rasters(D), ScoringOptions(mc_samples=5)) for there in (before, after))
    assert np.array_equal(mine.score, theirs.score)


def test_thresholds_are_of_calibrated_scores(fitted: LoadedGeneration, rasters: Callable[[int], Rasters]) -> None:
    record = calibrate_cascade(fitted, rasters(40))
    options = ScoringOptions(acquisition=Acquisition.BOX_EPISTEMIC, mc_samples=record.masks)
    found = score_rasters(fitted, rasters(40), options).score
    assert record.quantiles["box_epistemic"][-1] == pytest.approx(found.max())


def test_a_manifest_of_before_loads_and_changes_no_byte(generation: Artefacts, rasters: Callable[[int], Rasters]) -> None:
    stored = generation.manifest.model_dump(mode="json", exclude={"variance_scales", "calibration"})
    older = replace(generation, manifest=Manifest.model_validate(stored))
    assert older.manifest.variance_scales == (1.0,) * 7
    mine, theirs = (score_rasters(LoadedGeneration(a), rasters(D), ScoringOptions(mc_samples=5)) for a in (older, generation))
    assert mine.aleatoric.tobytes() == theirs.aleatoric.tobytes()
    assert mine.score.tobytes() == theirs.score.tobytes()
