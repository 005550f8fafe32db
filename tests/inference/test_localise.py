"""Tightness and stability of what a generation draws."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from quandary.frustum import crop_frusta
from quandary.geometry import Calibration, ImageBox
from quandary.options import Acquisition, Estimator, ScoringOptions
from quandary_server.frustum.anchor import decode_boxes
from quandary_server.frustum.raster import Rasters, rasterise, with_jitter
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.inference.provider import Provider
from quandary_server.inference.scores import score_rasters
from quandary_server.registry.directory import Artefacts
from quandary_server.uncertainty.jackknife import standard_error

JITTERS, COUNT = 4, 9
LOCALISED = [Acquisition.TIGHTNESS, Acquisition.STABILITY]
BOXES = [ImageBox(100.0 * i, 90.0, 100.0 * i + 150, 280.0) for i in range(COUNT)]


@pytest.fixture(scope="module")
def loaded(generation: Artefacts) -> LoadedGeneration:
    return LoadedGeneration(generation, Provider.CPU)


@pytest.fixture(scope="module")
def jittered(calibration: Calibration) -> Rasters:
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.uniform([5, -20, -2], [60, 20, 2], (4000, 3)), rng.random(4000)]).astype(np.float32)
    crops = crop_frusta(points, calibration, BOXES)
    return with_jitter(rasterise(crops, calibration, BOXES), crops, calibration, BOXES, JITTERS, seed=17)


@pytest.mark.parametrize("acquisition", LOCALISED)
@pytest.mark.parametrize("estimator", list(Estimator))
def test_answers_do_not_depend_on_company_to_the_bit(
    loaded: LoadedGeneration, jittered: Rasters, acquisition: Acquisition, estimator: Estimator
) -> None:
    options = ScoringOptions(estimator, acquisition, jittered_proposals=JITTERS)
    together = score_rasters(loaded, jittered, options)
    assert together.usable.all()
    for which in ([0], [8], [3, 7], [5, 1, 2]):
        alone = score_rasters(loaded, jittered.take(np.array(which)), options)
        for name in ("score", "tightness", "stability"):
            assert getattr(alone, name).tobytes() == getattr(together, name)[which].tobytes(), name
        if together.score_without is not None:
            assert alone.score_without is not None
            assert alone.score_without.tobytes() == together.score_without[:, which].tobytes()


def test_they_are_what_the_boxes_say(loaded: LoadedGeneration, jittered: Rasters, calibration: Calibration) -> None:
    scores = score_rasters(loaded, jittered, ScoringOptions(jittered_proposals=JITTERS))
    assert scores.tightness is not None
    assert scores.stability is not None
    for box, proposal, tight, probs in zip(scores.boxes(), BOXES, scores.tightness, scores.mean_probs, strict=True):
        seen = calibration.project_box(box)
        assert tight == pytest.approx((seen.iou(proposal) if seen else 0.0) + probs[:-1].max() - 1)
    assert ((scores.stability >= 0) & (scores.stability <= 1)).all()
    assert (scores.stability < 1).any()


def test_the_scores_turn_them(loaded: LoadedGeneration, jittered: Rasters) -> None:
    tight, stable = (
        score_rasters(loaded, jittered, ScoringOptions(acquisition=a, jittered_proposals=JITTERS)) for a in LOCALISED
    )
    assert tight.tightness is not None
    assert stable.stability is not None
    assert tight.score == pytest.approx(1 - np.abs(tight.tightness))
    assert stable.score == pytest.approx((1 - stable.mean_probs[:, -1]) * (1 - stable.stability))


def test_jitter_that_moves_nothing_is_perfectly_stable(loaded: LoadedGeneration, jittered: Rasters) -> None:
    still = replace(jittered, jittered=replace(jittered, jittered=None).take(np.repeat(np.arange(COUNT), 3)))
    scores = score_rasters(loaded, still, ScoringOptions(acquisition=Acquisition.STABILITY, jittered_proposals=3))
    assert scores.stability == pytest.approx(np.ones(COUNT))
    assert scores.score_without is not None
    assert standard_error(scores.score_without) == pytest.approx(np.zeros(COUNT), abs=1e-12)


def test_the_jackknife_is_over_masks_for_tightness_and_over_jitter_for_stability(
    loaded: LoadedGeneration, jittered: Rasters
) -> None:
    options = ScoringOptions(mc_samples=3, acquisition=Acquisition.TIGHTNESS, jittered_proposals=JITTERS)
    tight = score_rasters(loaded, jittered, options)
    stable = score_rasters(loaded, jittered, replace(options, acquisition=Acquisition.STABILITY))
    assert tight.score_without is not None
    assert stable.score_without is not None
    assert tight.score_without.shape == (3 * loaded.members, COUNT)
    assert stable.score_without.shape == (JITTERS, COUNT)
    few = score_rasters(loaded, jittered, ScoringOptions(Estimator.SOFTMAX, Acquisition.TIGHTNESS))
    assert few.score_without is None


def test_tightness_without_a_draw_is_that_of_the_others(
    loaded: LoadedGeneration, generation: Artefacts, jittered: Rasters
) -> None:
    plain = replace(jittered, jittered=None)
    options = ScoringOptions(Estimator.DEEP_ENSEMBLE, Acquisition.TIGHTNESS)
    left = score_rasters(loaded, plain, options).score_without
    assert left is not None
    files = {f"member-{k}.onnx": digest for k, digest in enumerate(list(generation.manifest.files.values())[:2])}
    two = Artefacts(generation.manifest.model_copy(update={"files": files}), generation.members[:2])
    assert left[2] == pytest.approx(score_rasters(LoadedGeneration(two, Provider.CPU), plain, options).score)


def test_what_is_not_asked_for_is_not_told(
    loaded: LoadedGeneration, jittered: Rasters, rasters: Callable[[int], Rasters]
) -> None:
    plain = replace(jittered, jittered=None)
    scores = score_rasters(loaded, plain, ScoringOptions())
    assert (scores.tightness, scores.stability) == (None, None)
    assert score_rasters(loaded, plain, ScoringOptions(acquisition=Acquisition.TIGHTNESS)).stability is None
    with pytest.raises(ValueError, match="needs jittered proposals"):
        score_rasters(loaded, plain, ScoringOptions(acquisition=Acquisition.STABILITY, jittered_proposals=1))
    with pytest.raises(ValueError, match="needs the objects' views"):
        score_rasters(loaded, replace(plain, views=None), ScoringOptions(acquisition=Acquisition.TIGHTNESS))


def test_an_object_is_unusable_where_one_of_its_jittered_answers_is(loaded: LoadedGeneration, jittered: Rasters) -> None:
    assert jittered.jittered is not None
    maps = jittered.jittered.maps.copy()
    maps[5 * JITTERS + 2] = np.nan
    broken = replace(jittered, jittered=replace(jittered.jittered, maps=maps))
    scores = score_rasters(loaded, broken, ScoringOptions(acquisition=Acquisition.STABILITY, jittered_proposals=JITTERS))
    assert np.flatnonzero(~scores.usable).tolist() == [5]
    assert np.isfinite(scores.score[scores.usable]).all()
    assert len(decode_boxes(scores.box[:5], scores.anchors.take(slice(0, 5)))) == 5
