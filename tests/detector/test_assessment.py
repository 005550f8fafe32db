from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from quandary.geometry import Box3D
from quandary.labels import CLASSES, LABEL_CLASSES, Label
from quandary.options import ScoringOptions
from quandary_server.detector.assessment import assess
from quandary_server.detector.examples import Examples, make_examples
from quandary_server.frustum.raster import Rasters
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.inference.provider import Provider
from quandary_server.inference.scores import score_rasters
from quandary_server.registry.directory import Artefacts

COUNT = 40
OPTIONS = ScoringOptions(mc_samples=5)

MakeRasters = Callable[[int], Rasters]


@pytest.fixture(scope="module")
def loaded(generation: Artefacts) -> LoadedGeneration:
    return LoadedGeneration(generation, Provider.CPU)


def truths(boxes: list[Box3D]) -> list[Label | None]:
    """Every class in turn, every fifth a Background."""
    classes = [LABEL_CLASSES[i % len(LABEL_CLASSES)] for i in range(len(boxes))]
    return [Label(name, box) if i % 5 else None for i, (name, box) in enumerate(zip(classes, boxes, strict=True))]


def examples(rasters: MakeRasters, labels: list[Label | None]) -> Examples:
    return make_examples(rasters(COUNT), labels, "drive", "frame")


def test_classes_are_judged_by_the_mean_probabilities(loaded: LoadedGeneration, rasters: MakeRasters) -> None:
    scores = score_rasters(loaded, rasters(COUNT), OPTIONS)
    labels = truths(scores.boxes())
    found = assess(loaded, examples(rasters, labels), OPTIONS)

    classes = [CLASSES.index(label.class_name if label else "Background") for label in labels]
    rows = scores.mean_probs.tolist()
    likeliest = [row.index(max(row)) for row in rows]
    right = [mine == true for mine, true in zip(likeliest, classes, strict=True)]
    recalls = [np.mean([right[i] for i in range(COUNT) if classes[i] == c]) for c in sorted(set(classes))]
    assert found.classes.tolist() == classes
    assert found.predicted.tolist() == likeliest
    assert found.wrong.tolist() == [float(not hit) for hit in right]
    assert found.nll == pytest.approx([-np.log(row[c]) for row, c in zip(rows, classes, strict=True)])

    gaps = []
    for low in np.arange(15) / 15:
        inside = [i for i in range(COUNT) if low <= max(rows[i]) < low + 1 / 15]
        gaps.append(abs(sum(right[i] - max(rows[i]) for i in inside)))
    figures = found.figures()
    assert figures["macro_recall"] == pytest.approx(np.mean(recalls))
    assert figures["accuracy"] == pytest.approx(np.mean(right))
    assert figures["nll"] == pytest.approx(found.nll.mean())
    assert figures["ece"] == pytest.approx(sum(gaps) / COUNT)
    assert (figures["crops"], figures["objects"]) == (COUNT, 32)


def test_labels_that_are_the_predicted_boxes_have_no_error(loaded: LoadedGeneration, rasters: MakeRasters) -> None:
    labels = truths(score_rasters(loaded, rasters(COUNT), OPTIONS).boxes())
    found = assess(loaded, examples(rasters, labels), OPTIONS)
    assert found.objects.tolist() == [label is not None for label in labels]
    assert found.centre_error[found.objects] == pytest.approx(np.zeros(32), abs=1e-4)
    assert found.size_error[found.objects] == pytest.approx(np.zeros(32), abs=1e-4)
    assert found.iou[found.objects] == pytest.approx(np.ones(32), abs=1e-3)
    for errors in (found.centre_error, found.size_error, found.iou):
        assert np.isnan(errors[~found.objects]).all()


def test_each_object_is_held_against_its_own_label(loaded: LoadedGeneration, rasters: MakeRasters) -> None:
    boxes = score_rasters(loaded, rasters(COUNT), OPTIONS).boxes()
    # the i-th is i cm off along x and 3 i cm too high: 1 cm on the mean of the three extents
    moved = [replace(box, x_m=box.x_m + i / 100, height_m=box.height_m + 3 * i / 100) for i, box in enumerate(boxes)]
    found = assess(loaded, examples(rasters, truths(moved)), OPTIONS)
    expected = np.arange(COUNT)[found.objects] / 100
    assert found.centre_error[found.objects] == pytest.approx(expected, abs=1e-3)
    assert found.size_error[found.objects] == pytest.approx(expected, abs=1e-3)
    figures = found.figures()
    assert figures["mean_centre_error"] == pytest.approx(expected.mean(), abs=1e-3)
    assert figures["mean_iou"] == pytest.approx(found.iou[found.objects].mean())


def test_nothing_but_background_has_no_box_figures(loaded: LoadedGeneration, rasters: MakeRasters) -> None:
    figures = assess(loaded, examples(rasters, [None] * COUNT), OPTIONS).figures()
    assert figures["objects"] == 0
    assert not any(name.startswith("mean_") for name in figures)
