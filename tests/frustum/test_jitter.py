import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quandary.frustum import BOX_GROWTH, crop_frusta
from quandary.geometry import Calibration, ImageBox
from quandary_server.frustum.jitter import REACH, jittered_crops, jittered_proposals
from quandary_server.frustum.raster import Rasters, rasterise, with_jitter

ROUNDING_PX = 1e-9


def edges(box: ImageBox) -> tuple[float, float, float, float]:
    return box.left_px, box.top_px, box.right_px, box.bottom_px


def holds(outer: ImageBox, inner: ImageBox) -> bool:
    return (
        outer.left_px - ROUNDING_PX <= inner.left_px
        and outer.top_px - ROUNDING_PX <= inner.top_px
        and inner.right_px <= outer.right_px + ROUNDING_PX
        and inner.bottom_px <= outer.bottom_px + ROUNDING_PX
    )


corners, sides = st.floats(-300, 1150), st.floats(60, 900)
proposals = st.builds(
    lambda x, y, w, h: ImageBox(x, y, max(x + w, 1.0), max(y + h, 1.0)), corners, st.floats(-100, 380), sides, sides
)


@given(proposals, st.integers(0, 2**64 - 1))
def test_jittered_proposals_lie_in_the_proposal_and_the_image_and_need_no_point_outside_of_the_crop(
    calibration: Calibration, box: ImageBox, seed: int
) -> None:
    inside = box.clipped(calibration.image_width_px, calibration.image_height_px)
    assert inside is not None
    for jittered in jittered_proposals(box, calibration, 4, seed):
        assert holds(inside, jittered)
        assert holds(box.grown(BOX_GROWTH), jittered.grown(BOX_GROWTH))
        assert jittered.width_px >= (1 - 2 * REACH) * inside.width_px - ROUNDING_PX
        assert jittered.height_px >= (1 - 2 * REACH) * inside.height_px - ROUNDING_PX


def test_they_follow_from_seed_and_box_alone_and_few_are_a_prefix_of_many(calibration: Calibration) -> None:
    box, other = ImageBox(100.0, 50.0, 180.0, 120.0), ImageBox(100.0, 50.0, 180.0, 120.5)
    many = jittered_proposals(box, calibration, 8, 3)
    assert jittered_proposals(box, calibration, 3, 3) == many[:3]
    assert len(set(map(edges, many))) == 8
    assert jittered_proposals(box, calibration, 8, 4) != many
    assert jittered_proposals(other, calibration, 8, 3) != many
    zero, minus_zero = (jittered_proposals(ImageBox(z, 50.0, 180.0, 120.0), calibration, 2, 3) for z in (0.0, -0.0))
    assert zero == minus_zero


def test_a_sliver_is_not_drawn_in_further(calibration: Calibration) -> None:
    sliver = ImageBox(100.0, 50.0, 100.0015, 120.0)
    for jittered in jittered_proposals(sliver, calibration, 3, 0):
        assert (jittered.left_px, jittered.right_px) == (sliver.left_px, sliver.right_px)
        assert jittered.top_px > sliver.top_px


def test_a_proposal_outside_of_the_image_is_refused(calibration: Calibration) -> None:
    with pytest.raises(ValueError, match="outside of the image"):
        jittered_proposals(ImageBox(-50.0, 0.0, -10.0, 10.0), calibration, 1, 0)


def test_the_crops_of_jittered_proposals_are_those_of_the_whole_cloud(calibration: Calibration) -> None:
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.uniform([5, -20, -2], [60, 20, 2], (4000, 3)), rng.random(4000)]).astype(np.float32)
    boxes = [ImageBox(500.0, 120.0, 700.0, 260.0), ImageBox(-30.0, 150.0, 200.0, 390.0)]
    crops = crop_frusta(points, calibration, boxes)
    cut, drawn = jittered_crops(crops, calibration, boxes, 3, seed=1)
    whole = crop_frusta(points, calibration, drawn)
    assert len(cut) == len(drawn) == 6
    assert all(map(len, cut))
    assert [crop.tobytes() for crop in cut] == [crop.tobytes() for crop in whole]


def test_rasters_keep_their_jitter_when_they_are_joined_and_taken(calibration: Calibration) -> None:
    rng = np.random.default_rng(1)
    points = np.column_stack([rng.uniform([5, -20, -2], [60, 20, 2], (2000, 3)), rng.random(2000)]).astype(np.float32)
    boxes = [ImageBox(400.0 + 90 * i, 100.0, 520.0 + 90 * i, 260.0) for i in range(3)]

    def rasters(of: list[ImageBox]) -> Rasters:
        crops = crop_frusta(points, calibration, of)
        return with_jitter(rasterise(crops, calibration, of), crops, calibration, of, 2, seed=5)

    joined = Rasters.joined([rasters(boxes[:1]), rasters(boxes[1:])])
    last = joined.take(np.array([2]))
    expected = rasters(boxes[2:])
    assert joined.jitters == last.jitters == 2
    assert last.maps.tobytes() == expected.maps.tobytes()
    assert last.jittered is not None
    assert expected.jittered is not None
    assert last.views is not None
    assert expected.views is not None
    assert last.jittered.maps.tobytes() == expected.jittered.maps.tobytes()
    assert last.jittered.anchors.centre.tobytes() == expected.jittered.anchors.centre.tobytes()
    assert last.views.proposals.tobytes() == expected.views.proposals.tobytes()
