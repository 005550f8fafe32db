from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from quandary.labels import CLASSES
from quandary.options import ScoringOptions
from quandary_server.detector.examples import Examples, make_examples
from quandary_server.frustum.raster import Rasters
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.inference.provider import Provider
from quandary_server.inference.scores import score_rasters
from quandary_server.registry.directory import Artefacts
from quandary_server.trainer.candidate import LEAST_SCALES, box_scales, seed_rank_correlation

COUNT = 40
OPTIONS = ScoringOptions(mc_samples=5)

MakeRasters = Callable[[int], Rasters]


def background(rasters: MakeRasters, count: int) -> Examples:
    return make_examples(rasters(count), [None] * count, "drive", "frame")


def with_boxes(rasters: MakeRasters, boxes: np.ndarray) -> Examples:
    """Cars with these regressed boxes (N, 10), and as many crops of Background."""
    count = len(boxes)
    empty = background(rasters, 2 * count)
    classes = np.repeat([CLASSES.index("Car"), CLASSES.index("Background")], count)
    return replace(empty, classes=classes, boxes=np.concatenate([boxes, np.full((count, 10), 99.0)]).astype(np.float32))


def normal_boxes(spreads: list[float], count: int = 400) -> np.ndarray:
    plain = np.random.default_rng(0).normal(0, spreads, (count, 6))
    return np.column_stack([plain, np.tile([0.0, 1.0, 0.0, 1.0], (count, 1))])


def ranks(values: np.ndarray) -> np.ndarray:
    return np.array([(values < value).sum() + ((values == value).sum() - 1) / 2 for value in values])


def test_rank_correlation_is_pearsons_of_the_ranks_under_two_seeds(generation: Artefacts, rasters: MakeRasters) -> None:
    loaded = LoadedGeneration(generation, Provider.CPU)
    own = loaded.manifest.seed
    first, second = (score_rasters(loaded, rasters(COUNT), replace(OPTIONS, seed=s)).score for s in (own, own ^ 1))
    found = seed_rank_correlation(loaded, background(rasters, COUNT), OPTIONS, first)
    expected = np.corrcoef(ranks(first), ranks(second))[0, 1]
    assert found == pytest.approx(expected)
    assert 0 < expected < 1


def test_few_crops_have_no_rank_correlation(generation: Artefacts, rasters: MakeRasters) -> None:
    loaded = LoadedGeneration(generation, Provider.CPU)
    assert seed_rank_correlation(loaded, background(rasters, 19), OPTIONS, np.arange(19.0)) is None
    assert seed_rank_correlation(loaded, background(rasters, 20), OPTIONS, np.arange(20.0)) is not None


def test_scales_are_the_variance_of_what_is_normal(rasters: MakeRasters) -> None:
    spreads = [4.0, 2.0, 1.5, 0.9, 0.8, 0.7]
    found = box_scales(with_boxes(rasters, normal_boxes(spreads)))
    assert found[:6] == pytest.approx([spread**2 for spread in spreads], rel=0.25)


def test_a_tenth_of_absurd_boxes_does_not_rule_the_scales(rasters: MakeRasters) -> None:
    boxes = normal_boxes([2.0] * 6)
    sound = box_scales(with_boxes(rasters, boxes))
    boxes[:40, :6] += 100.0
    assert box_scales(with_boxes(rasters, boxes))[:6] == pytest.approx(sound[:6], rel=0.5)


def test_scales_do_not_fall_under_what_matters(rasters: MakeRasters) -> None:
    assert box_scales(with_boxes(rasters, normal_boxes([1e-6] * 6))) == LEAST_SCALES


def test_one_object_has_no_scale(rasters: MakeRasters) -> None:
    assert box_scales(with_boxes(rasters, normal_boxes([1.0] * 6, count=1))) == (1.0,) * 7
