from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from quandary.frustum import crop_frusta
from quandary.geometry import Box3D, Calibration, ImageBox
from quandary.labels import CLASSES, Label
from quandary_server.detector.examples import Examples, make_examples, mirrored, true_boxes
from quandary_server.detector.export import PARITY_TOLERANCE, ParityError, export_onnx, parity
from quandary_server.detector.fitting import Fit, class_weights, fit_member
from quandary_server.detector.loss import detection_loss
from quandary_server.detector.net import FrustumNet
from quandary_server.detector.settings import FitSettings, NetSettings
from quandary_server.frustum.anchor import AXIS, REGRESSED, Anchors
from quandary_server.frustum.raster import CHANNELS, GEOMETRY, SIDE, Rasters, rasterise

SMALL = NetSettings(channels=(4, 4, 8), image_embedding=12, geometry_embedding=4, hidden=16)
CAR, PEDESTRIAN, BACKGROUND = (CLASSES.index(name) for name in ("Car", "Pedestrian", "Background"))


def toy(count: int, seed: int = 0) -> Examples:
    """Cars fill the left of their maps, pedestrians the right, background nothing: an easy task with known boxes."""
    rng = np.random.default_rng(seed)
    classes = rng.choice([CAR, PEDESTRIAN, BACKGROUND], count)
    maps = rng.normal(0, 0.1, (count, len(CHANNELS), SIDE, SIDE)).astype(np.float32)
    maps[classes == CAR, 2, :, : SIDE // 2] += 1
    maps[classes == PEDESTRIAN, 2, :, SIDE // 2 :] += 1
    boxes = np.zeros((count, REGRESSED), np.float32)
    boxes[classes == CAR] = [1.0, 0.0, 0.0, *np.log([4.0, 1.6, 1.5]), 0.0, 1.0, 0.0, 1.0]
    boxes[classes == PEDESTRIAN] = [-1.0, 0.5, 0.0, *np.log([0.8, 0.6, 1.8]), 0.0, -1.0, 1.0, 0.0]
    geometry = rng.normal(size=(count, len(GEOMETRY))).astype(np.float32)
    names = np.array([f"f{i}" for i in range(count)])
    return Examples(maps, geometry, classes, boxes, np.zeros((count, 3)), np.zeros(count), names, names)


def net(seed: int = 0, settings: NetSettings = SMALL) -> FrustumNet:
    torch.manual_seed(seed)
    return FrustumNet(settings).eval()


def test_shapes_are_samples_by_detections() -> None:
    samples, detections = 5, 3
    maps, geometry = torch.zeros(detections, len(CHANNELS), SIDE, SIDE), torch.zeros(detections, len(GEOMETRY))
    masks = torch.ones(samples, SMALL.embedding), torch.ones(samples, SMALL.hidden)
    logits, box, log_variance, embedding = net()(maps, geometry, *masks)
    assert logits.shape == (samples, detections, len(CLASSES))
    assert box.shape == (samples, detections, REGRESSED)
    assert log_variance.shape == (samples, detections, 7)
    assert embedding.shape == (detections, SMALL.embedding)


def test_a_mask_acts_on_all_crops_alike_and_equal_masks_give_equal_samples() -> None:
    maps, geometry = torch.randn(2, len(CHANNELS), SIDE, SIDE), torch.randn(2, len(GEOMETRY))
    rng = torch.Generator().manual_seed(0)
    mask_in = (torch.rand(3, SMALL.embedding, generator=rng) < 0.5) * 2.0
    mask_in[2] = mask_in[0]
    logits = net()(maps, geometry, mask_in, torch.ones(3, SMALL.hidden))[0]
    assert torch.allclose(logits[0], logits[2], atol=1e-6)
    assert not torch.allclose(logits[0], logits[1], atol=1e-3)


def test_fitting_learns_the_toy_task_and_reports_its_progress() -> None:
    settings = FitSettings(steps=120, batch=32, learning_rate=1e-2, mirror=False, report_every=40)
    fit = Fit(toy(300), SMALL, settings, seed=1)
    reports = [fit.advance() for _ in range(3)]
    assert fit.done
    fitted = fit_member(toy(300), SMALL, settings, seed=1)
    fresh = toy(200, seed=9)
    masks = torch.ones(1, SMALL.embedding), torch.ones(1, SMALL.hidden)
    with torch.no_grad():
        logits, box, _, _ = fitted(torch.from_numpy(fresh.maps), torch.from_numpy(fresh.geometry), *masks)
    assert (logits[0].argmax(dim=1).numpy() == fresh.classes).mean() > 0.95
    objects = fresh.classes != BACKGROUND
    assert np.abs(box[0].numpy()[objects] - fresh.boxes[objects]).mean() < 0.25
    assert [report.step for report in reports] == [40, 80, 120]
    assert reports[-1].loss < reports[0].loss


def test_the_seed_alone_decides() -> None:
    settings = FitSettings(steps=5, batch=8)
    first, again, other = (fit_member(toy(40), SMALL, settings, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["output.weight"], other["output.weight"])


def test_fitting_leaves_torchs_global_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit_member(toy(20), SMALL, FitSettings(steps=2, batch=8), seed=1)
    assert torch.equal(torch.rand(3), expected)


def test_too_few_or_broken_examples_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        fit_member(toy(1), SMALL, FitSettings(steps=2), seed=1)
    broken = toy(20)
    broken.maps[:] = np.nan
    with pytest.raises(ValueError, match="loss is nan at step 1"):
        fit_member(broken, SMALL, FitSettings(steps=2, batch=8), seed=1)


def test_classes_weigh_by_a_power_of_their_rarity_within_bounds() -> None:
    classes = np.array([0] * 90 + [3] * 10)
    assert class_weights(classes, 0.0) is None
    weights = class_weights(classes, 0.5)
    assert weights is not None
    assert weights[[0, 3]].tolist() == pytest.approx([(50 / 90) ** 0.5, 5**0.5])
    assert weights[1] == 1.0
    rare = class_weights(np.array([0] * 999 + [3]), 1.0)
    assert rare is not None
    assert rare[3] == 10.0


def test_the_loss_is_the_mean_over_the_weights() -> None:
    logits, classes = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])
    logits = torch.nn.functional.pad(logits, (0, len(CLASSES) - 2), value=-1e9)
    classes[1] = 1
    weights = torch.ones(len(CLASSES))
    weights[1] = 3.0
    box, log_variance = torch.zeros(2, 10), torch.zeros(2, 7)
    found = detection_loss(logits, box, log_variance, classes, box, 0.0, weights)
    first, second = np.log1p(np.exp(-2.0)), np.log1p(np.exp(-1.0))
    assert float(found) == pytest.approx((first + 3 * second) / 4, rel=1e-5)


def test_a_batch_of_background_has_no_box_loss() -> None:
    logits = torch.zeros(4, len(CLASSES))
    classes = torch.full((4,), BACKGROUND)
    loss = detection_loss(
        logits, torch.full((4, REGRESSED), 99.0), torch.zeros(4, 7), classes, torch.zeros(4, REGRESSED), box_weight=1.0
    )
    assert loss.item() == pytest.approx(np.log(len(CLASSES)))


def test_a_predicted_variance_settles_at_the_squared_error() -> None:
    target, box = torch.zeros(1, REGRESSED), torch.zeros(1, REGRESSED)
    box[:, :6] = 0.5
    # the chord between doubled angles is twice the error
    box[:, AXIS.start] = 1.0
    slopes = []
    for variance in (0.1, 0.25, 0.6):
        log_variance = torch.full((1, 7), float(np.log(variance)), requires_grad=True)
        loss = detection_loss(torch.zeros(1, len(CLASSES)), box, log_variance, torch.tensor([CAR]), target, 1.0)
        (slope,) = torch.autograd.grad(loss, log_variance)
        slopes.append(slope.numpy()[0])
    assert (slopes[0] < 0).all()
    assert slopes[1] == pytest.approx(np.zeros(7), abs=1e-6)
    assert (slopes[2] > 0).all()


def test_what_is_predicted_with_a_large_variance_learns_by_its_root_and_not_its_inverse() -> None:
    slopes = []
    for variance in (1.0, 16.0):
        box = torch.full((1, REGRESSED), 0.1, requires_grad=True)
        log_variance = torch.full((1, 7), float(np.log(variance)))
        loss = detection_loss(
            torch.zeros(1, len(CLASSES)), box, log_variance, torch.tensor([CAR]), torch.zeros(1, REGRESSED), 1.0
        )
        (slope,) = torch.autograd.grad(loss, box)
        slopes.append(float(slope[0, 0]))
    assert slopes[0] / slopes[1] == pytest.approx(4.0, rel=1e-4)


def test_export_agrees_with_torch() -> None:
    model, difference = export_onnx(net())
    assert difference <= PARITY_TOLERANCE
    assert parity(net(), model) == pytest.approx(difference)


def test_another_nets_model_fails_parity() -> None:
    model, _ = export_onnx(net(seed=0))
    assert parity(net(seed=1), model) > PARITY_TOLERANCE


@pytest.mark.parametrize("output", [0, -1])
def test_a_net_that_is_not_finite_is_not_exported(output: int) -> None:
    broken = net()
    with torch.no_grad():
        broken.output.bias[output] = float("nan")
    with pytest.raises(ParityError, match="differs from the net by nan"):
        export_onnx(broken)


def test_mirroring_an_example_is_rasterising_a_mirrored_world(calibration: Calibration) -> None:
    # the camera of the tests looks along +x from y = 0, its principal point in the middle of the image
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.uniform([5, -20, -2], [60, 20, 2], (4000, 3)), rng.random(4000)]).astype(np.float32)
    boxes = [ImageBox(100.0, 150.0, 250.0, 260.0), ImageBox(700.0, 120.0, 1100.0, 330.0), ImageBox(580.0, 180.0, 640.0, 220.0)]
    labels = [Label("Car", Box3D(20.0, 13.0, -0.5, 4.2, 1.7, 1.5, 0.7)), Label("Tram", Box3D(30, -14, 0, 9, 2, 3, -2.0)), None]

    other_boxes = [ImageBox(1200 - box.right_px, box.top_px, 1200 - box.left_px, box.bottom_px) for box in boxes]
    other_labels = [
        label and replace(label, box=replace(label.box, y_m=-label.box.y_m, yaw_rad=-label.box.yaw_rad)) for label in labels
    ]
    other_points = points * np.array([1, -1, 1, 1], np.float32)
    example = make_examples(_rastered(points, calibration, boxes), labels, "drive", "frame")
    other = make_examples(_rastered(other_points, calibration, other_boxes), other_labels, "drive", "frame")

    maps, geometry, regressed = mirrored(example.maps, example.geometry, example.boxes, np.array([True, True, False]))
    assert example.maps[:, 2].any(axis=(1, 2)).all()
    assert np.abs(example.geometry[:2, GEOMETRY.index("bearing")]).min() > 0.1
    assert np.array_equal(maps[:2], other.maps[:2])
    assert np.array_equal(geometry[:2], other.geometry[:2])
    assert regressed[:2] == pytest.approx(other.boxes[:2], abs=1e-6)
    assert np.array_equal(maps[2], example.maps[2])
    assert np.array_equal(geometry[2], example.geometry[2])


def _rastered(points: NDArray[np.float32], calibration: Calibration, boxes: Sequence[ImageBox]) -> Rasters:
    return rasterise(crop_frusta(points, calibration, boxes), calibration, boxes)


def test_examples_keep_the_labelled_box() -> None:
    box = Box3D(20.0, 3.0, -0.5, 4.2, 1.7, 1.5, 0.3)
    rasters = Rasters(
        np.zeros((2, len(CHANNELS), SIDE, SIDE), np.float32),
        np.zeros((2, len(GEOMETRY)), np.float32),
        Anchors(np.array([[19.0, 2.0, 0.0], [5.0, 0.0, 0.0]]), np.array([0.1, 0.0])),
        np.array([10, 3]),
    )
    examples = make_examples(rasters, [Label("Car", box), None], "drive", "frame")
    assert examples.classes.tolist() == [CAR, BACKGROUND]
    assert not examples.boxes[1].any()
    back = true_boxes(examples)[0]
    assert back.centre == pytest.approx(box.centre, abs=1e-5)
    assert back.extents == pytest.approx(box.extents, rel=1e-5)
    assert back.yaw_rad == pytest.approx(0.3, abs=1e-6)


def test_joining_nothing_gives_the_empty_examples_and_taking_keeps_the_order() -> None:
    assert len(Examples.joined([])) == 0
    both = Examples.joined([toy(3), toy(2, seed=4)])
    assert len(both) == 5
    assert both.take(np.array([4, 0])).frames.tolist() == ["f1", "f0"]


def test_a_part_without_crops_joins_those_of_any_side() -> None:
    larger = replace(toy(3), maps=np.zeros((3, len(CHANNELS), 2 * SIDE, 2 * SIDE), np.float32))
    assert Examples.joined([Examples.joined([]), larger]).maps.shape == larger.maps.shape
