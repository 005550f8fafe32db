from collections.abc import Callable

import pytest

from quandary.options import ScoringOptions
from quandary_server.detector.assessment import Assessment, assess
from quandary_server.detector.examples import make_examples
from quandary_server.experiment.demo.report import class_sparsification
from quandary_server.frustum.raster import Rasters
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.inference.provider import Provider
from quandary_server.registry.directory import Artefacts

Assess = Callable[[int], Assessment]


@pytest.fixture
def assessed(generation: Artefacts, rasters: Callable[[int], Rasters]) -> Assess:
    """How nets that were never fitted do on so many crops of Background."""
    loaded = LoadedGeneration(generation, Provider.CPU)

    def make(crops: int) -> Assessment:
        return assess(loaded, make_examples(rasters(crops), [None] * crops, "drive", "frame"), ScoringOptions(mc_samples=2))

    return make


def test_a_hundred_crops_are_needed_however_many_errors_there_are(assessed: Assess) -> None:
    few, enough = assessed(99), assessed(100)
    assert few.wrong.sum() >= 20
    assert class_sparsification(few) is None
    assert class_sparsification(enough) is not None


def test_twenty_errors_are_needed_however_many_crops_there_are(assessed: Assess) -> None:
    for errors, determined in ((19, False), (20, True)):
        found = assessed(150)
        found.classes[:] = found.predicted
        found.classes[:errors] = (found.predicted[:errors] + 1) % 9
        assert found.wrong.sum() == errors
        assert (class_sparsification(found) is not None) == determined


def test_nothing_assessed_is_undetermined() -> None:
    assert class_sparsification(None) is None
