"""The cascade: a few masks for all, all masks for those near the top; every answer is that of a plain estimator, to the bit."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from quandary.frustum import crop_frusta
from quandary.geometry import Calibration, ImageBox
from quandary.options import Acquisition, Estimator, ScoringOptions
from quandary_server.frustum.raster import Rasters, rasterise, with_jitter
from quandary_server.inference.cascade import FIRST_MASKS, FIRST_SAMPLES, calibrate_cascade, escalation_threshold
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.inference.object_scores import ObjectScores
from quandary_server.inference.provider import Provider
from quandary_server.inference.scores import score_rasters
from quandary_server.registry.directory import Artefacts
from quandary_server.registry.manifest import CascadeRecord
from quandary_server.uncertainty.acquisition import ACQUISITIONS
from quandary_server.uncertainty.jackknife import standard_error

NAMES = ("score", "mean_probs", "predictive_entropy", "expected_entropy", "variation_ratio", "box", "aleatoric", "epistemic")
CONTROL, COUNT = 60, 40
OPTIONS = ScoringOptions(Estimator.ESCALATE, mc_samples=8, escalate_share=0.25)
FULL = replace(OPTIONS, estimator=Estimator.ENSEMBLE_MC_DROPOUT)


@pytest.fixture(scope="module")
def bare(generation: Artefacts) -> LoadedGeneration:
    """A generation that has no thresholds."""
    return LoadedGeneration(generation, Provider.CPU)


@pytest.fixture(scope="module")
def record(bare: LoadedGeneration, rasters: Callable[[int], Rasters]) -> CascadeRecord:
    return calibrate_cascade(bare, rasters(CONTROL))


@pytest.fixture(scope="module")
def loaded(generation: Artefacts, record: CascadeRecord) -> LoadedGeneration:
    manifest = generation.manifest.model_copy(update={"cascade": record})
    return LoadedGeneration(Artefacts(manifest, generation.members), Provider.CPU)


def same(found: ObjectScores, expected: ObjectScores, which: np.ndarray) -> bool:
    return all(getattr(found, name)[which].tobytes() == getattr(expected, name)[which].tobytes() for name in NAMES)


def test_the_thresholds_are_quantiles_of_the_first_scores_of_the_control_crops(
    loaded: LoadedGeneration, record: CascadeRecord, rasters: Callable[[int], Rasters]
) -> None:
    assert set(record.quantiles) == set(ACQUISITIONS)
    assert record.crops == CONTROL
    assert record.masks * loaded.members >= FIRST_SAMPLES
    first = score_rasters(loaded, rasters(CONTROL), replace(FULL, mc_samples=record.masks)).score
    assert escalation_threshold(record, OPTIONS) == pytest.approx(np.quantile(first, 0.75))
    assert record.quantiles[Acquisition.INFORMATION_AND_BOX][0] == first.min()
    assert escalation_threshold(record, replace(OPTIONS, escalate_share=1.0)) == -np.inf
    assert score_rasters(loaded, rasters(CONTROL), OPTIONS).escalated is not None


def test_those_near_the_top_get_the_full_answer_and_the_others_that_of_few_masks(
    loaded: LoadedGeneration, record: CascadeRecord, rasters: Callable[[int], Rasters]
) -> None:
    found, full = score_rasters(loaded, rasters(COUNT), OPTIONS), score_rasters(loaded, rasters(COUNT), FULL)
    few = score_rasters(loaded, rasters(COUNT), replace(FULL, mc_samples=record.masks))
    assert found.escalated is not None
    assert found.escalated.tolist() == (few.score >= escalation_threshold(record, OPTIONS)).tolist()
    assert 0 < found.escalated.sum() < COUNT
    near, far = np.flatnonzero(found.escalated), np.flatnonzero(~found.escalated)
    assert same(found, full, near)
    assert same(found, few, far)
    assert set(found.samples[near]) == {8 * loaded.members}
    assert set(found.samples[far]) == {record.masks * loaded.members}


def test_the_standard_errors_are_those_of_the_answers_they_stand_by(
    loaded: LoadedGeneration, record: CascadeRecord, rasters: Callable[[int], Rasters]
) -> None:
    found, full = score_rasters(loaded, rasters(COUNT), OPTIONS), score_rasters(loaded, rasters(COUNT), FULL)
    few = score_rasters(loaded, rasters(COUNT), replace(FULL, mc_samples=record.masks))
    assert found.score_without is not None
    assert full.score_without is not None
    assert few.score_without is not None
    assert found.escalated is not None
    expected = np.where(found.escalated, standard_error(full.score_without), standard_error(few.score_without))
    assert standard_error(found.score_without) == pytest.approx(expected)
    assert score_rasters(loaded, rasters(COUNT), OPTIONS, jackknife=False).score_without is None


def test_an_objects_answer_does_not_depend_on_its_company(loaded: LoadedGeneration, rasters: Callable[[int], Rasters]) -> None:
    many = rasters(COUNT)
    together = score_rasters(loaded, many, OPTIONS)
    assert together.score_without is not None
    assert together.escalated is not None
    near = np.flatnonzero(together.escalated)
    for which in (near, np.arange(10, 30), *np.arange(COUNT)[:, None]):
        alone = score_rasters(loaded, many.take(which), OPTIONS)
        assert alone.score_without is not None
        assert alone.escalated is not None
        assert alone.escalated.tolist() == together.escalated[which].tolist()
        assert alone.score_without.tobytes() == together.score_without[:, which].tobytes()
        for name in (*NAMES, "embedding", "samples"):
            assert getattr(alone, name).tobytes() == getattr(together, name)[which].tobytes(), name


@pytest.mark.parametrize(
    "options",
    [
        replace(OPTIONS, escalate_share=1.0),
        replace(OPTIONS, mc_samples=FIRST_MASKS),
        replace(OPTIONS, acquisition=Acquisition.TIGHTNESS),
    ],
)
def test_where_nothing_tells_who_is_near_all_are(
    loaded: LoadedGeneration, rasters: Callable[[int], Rasters], options: ScoringOptions
) -> None:
    found = score_rasters(loaded, rasters(5), options)
    full = score_rasters(loaded, rasters(5), replace(options, estimator=Estimator.ENSEMBLE_MC_DROPOUT))
    assert found.escalated is not None
    assert found.escalated.all()
    assert same(found, full, np.arange(5))


def test_a_generation_without_thresholds_answers_in_full(bare: LoadedGeneration, rasters: Callable[[int], Rasters]) -> None:
    found = score_rasters(bare, rasters(5), OPTIONS)
    assert found.escalated is not None
    assert found.escalated.all()
    assert same(found, score_rasters(bare, rasters(5), FULL), np.arange(5))


def test_a_single_control_crop_is_enough_to_have_thresholds(bare: LoadedGeneration, rasters: Callable[[int], Rasters]) -> None:
    record = calibrate_cascade(bare, rasters(1))
    assert len(set(record.quantiles[Acquisition.MUTUAL_INFORMATION])) == 1


def test_jittered_proposals_are_drawn_as_their_object_is(
    generation: Artefacts, bare: LoadedGeneration, calibration: Calibration
) -> None:
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.uniform([5, -20, -2], [60, 20, 2], (4000, 3)), rng.random(4000)]).astype(np.float32)
    boxes = [ImageBox(50.0 * i, 90.0, 50.0 * i + 150, 280.0) for i in range(20)]
    crops = crop_frusta(points, calibration, boxes)
    rasters = with_jitter(rasterise(crops, calibration, boxes), crops, calibration, boxes, 2, seed=1)
    record = calibrate_cascade(bare, rasters)
    manifest = generation.manifest.model_copy(update={"cascade": record})
    loaded = LoadedGeneration(Artefacts(manifest, generation.members), Provider.CPU)
    options = replace(OPTIONS, jittered_proposals=2, escalate_share=0.5)
    found, full, few = (
        score_rasters(loaded, rasters, o)
        for o in (options, replace(FULL, jittered_proposals=2), replace(FULL, jittered_proposals=2, mc_samples=record.masks))
    )
    assert found.escalated is not None
    assert found.escalated.sum() == 10
    for name in ("tightness", "stability"):
        mixed, whole, first = (getattr(scores, name) for scores in (found, full, few))
        assert mixed.tobytes() == np.where(found.escalated, whole, first).tobytes()
