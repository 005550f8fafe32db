"""Temperature and variance scales of a candidate, and the crops that they are fitted on."""

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
from quandary_server.registry.directory import Artefacts
from quandary_server.trainer.calibration import NO_SCALES, SCALES, ControlSplit, fit, hashed, split_control
from quandary_server.uncertainty.calibration import negative_log_likelihoods
from quandary_server.uncertainty.summary import summarise

MakeRasters = Callable[[int], Rasters]
OPTIONS = ScoringOptions(mc_samples=5)
SHARP = 0.1
"""A temperature at which nets that were never fitted have an opinion."""

BACKGROUND = CLASSES.index("Background")


def control(rasters: MakeRasters, frames: int, drives: int, crops: int = 4) -> Examples:
    """Crops of Background: so many a frame, the frames spread over the drives."""
    count = frames * crops
    examples = make_examples(rasters(1).take(np.zeros(count, np.intp)), [None] * count, "", "")
    frame = np.arange(count) // crops
    return replace(
        examples,
        frames=np.array([f"f{i}" for i in frame]),
        drives=np.array([f"d{i % drives}" for i in frame]),
    )


def test_drives_are_never_in_both_parts_and_mostly_stay_in_theirs_when_others_come(rasters: MakeRasters) -> None:
    few, many = (split_control(control(rasters, 240, drives)) for drives in (12, 20))
    for split in (few, many):
        assert not set(split.calibration.drives) & set(split.gates.drives)
        assert len(split.calibration) >= 50
        assert len(split.gates) >= 100
    assert len(set(few.calibration.drives) - set(many.calibration.drives)) <= 2
    assert (few.told, many.told) == ("4 of 12 control drives", "7 of 20 control drives")


def test_of_few_drives_the_frames_are_shared_out(rasters: MakeRasters) -> None:
    split = split_control(control(rasters, 100, drives=5))
    assert "of 100 control frames" in split.told
    assert not set(split.calibration.frames) & set(split.gates.frames)
    assert len(split.calibration) == 33 * 4


def test_gates_come_first_where_crops_are_few(rasters: MakeRasters) -> None:
    split = split_control(control(rasters, 36, drives=7))
    assert (len(split.calibration), len(split.gates)) == (0, 144)
    assert split.told.startswith("not calibrated: of 144 labelled crops")
    assert "at least 50 and 100 are needed" in split.told
    assert split.thresholds is split.gates


def test_without_control_crops_there_is_nothing_to_split(rasters: MakeRasters) -> None:
    split = split_control(control(rasters, 0, drives=1))
    assert (len(split.calibration), len(split.gates)) == (0, 0)
    assert "of 0 labelled crops" in split.told


def test_a_third_is_taken_in_whatever_order_the_names_come() -> None:
    names = [f"drive-{i}" for i in range(30)]
    held = hashed(names)
    assert held.sum() == 10
    assert np.array_equal(hashed(names[::-1]), held[::-1])


def labelled(generation: LoadedGeneration, rasters: MakeRasters, count: int, spread: np.ndarray) -> Examples:
    """Crops whose classes are drawn from what the generation says at SHARP, and whose boxes scatter about its own.

    spread (7,): standard deviations of the box's errors over those that the generation tells.
    """
    rng = np.random.default_rng(0)
    crops = rasters(count)
    sharp = at(generation, SHARP)
    summary = summarise(sharp.draw(crops, OPTIONS.estimator, OPTIONS.mc_samples, sharp.seed(None)).samples)
    classes = np.array([rng.choice(len(CLASSES), p=p / p.sum()) for p in summary.mean_probs])
    errors = rng.normal(size=(count, 7)) * np.sqrt(summary.aleatoric + summary.epistemic) * spread
    examples = make_examples(crops, [None] * count, "d", "f")
    boxes = summary.box.copy()
    boxes[:, :6] -= errors[:, :6]
    return replace(examples, classes=classes, boxes=boxes.astype(np.float32))


def at(generation: LoadedGeneration, temperature: float) -> LoadedGeneration:
    there = LoadedGeneration(Artefacts(generation.manifest.model_copy(update={"temperature": temperature}), ()), Provider.CPU)
    there.loaded = generation.loaded
    return there


def test_scales_are_the_squared_ratios_of_errors_to_what_was_told(generation: Artefacts, rasters: MakeRasters) -> None:
    loaded = LoadedGeneration(generation, Provider.CPU)
    spread = np.array([0.5, 1.0, 2.0, 0.7, 1.0, 1.4, 1.0])
    examples = labelled(loaded, rasters, 500, spread)
    fitted = fit(loaded, ControlSplit(examples, examples, "2 of 9 control drives"), OPTIONS)
    assert fitted["variance_scales"][:6] == pytest.approx(spread[:6] ** 2, rel=0.25)
    # the yaw was left right: a scale of 0 would be best, and the least that there is is taken
    assert fitted["variance_scales"][6] == SCALES[0]
    assert fitted["calibration"] == "on 500 crops of 2 of 9 control drives"


def test_the_temperature_is_that_of_the_least_nll(generation: Artefacts, rasters: MakeRasters) -> None:
    loaded = LoadedGeneration(generation, Provider.CPU)
    examples = labelled(loaded, rasters, 500, np.ones(7))
    temperature = fit(loaded, ControlSplit(examples, examples, ""), OPTIONS)["temperature"]

    def nll(tried: float) -> float:
        there = at(loaded, tried)
        drawn = there.draw(examples.rasters, OPTIONS.estimator, OPTIONS.mc_samples, there.seed(None)).samples
        return float(negative_log_likelihoods(drawn.probs.mean(axis=0), examples.classes).mean())

    assert nll(temperature) < min(nll(temperature * 0.9), nll(temperature * 1.1))
    assert temperature == pytest.approx(SHARP, rel=0.3)


def test_too_few_objects_leave_the_variances(generation: Artefacts, rasters: MakeRasters) -> None:
    loaded = LoadedGeneration(generation, Provider.CPU)
    examples = labelled(loaded, rasters, 60, np.ones(7))
    classes = np.where(np.arange(60) < 29, 0, BACKGROUND)
    split = ControlSplit(replace(examples, classes=classes), examples, "3 of 9 control drives")
    fitted = fit(loaded, split, OPTIONS)
    assert fitted["variance_scales"] == NO_SCALES
    assert "29 objects, at least 30 are needed" in fitted["calibration"]


def test_without_crops_nothing_is_calibrated(generation: Artefacts, rasters: MakeRasters) -> None:
    loaded = LoadedGeneration(generation, Provider.CPU)
    split = split_control(control(rasters, 5, drives=1))
    fitted = fit(loaded, split, OPTIONS)
    assert (fitted["temperature"], fitted["variance_scales"]) == (1.0, NO_SCALES)
    assert fitted["calibration"].startswith("not calibrated")
