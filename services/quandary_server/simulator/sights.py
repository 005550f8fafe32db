"""What the camera sees of each body: its boxes, how much is cut off by the image and how much is hidden by others."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quandary.geometry import Box3D, Calibration, ImageBox
from quandary_server.simulator.bodies import SAMPLES
from quandary_server.simulator.ego import Pose
from quandary_server.simulator.placing import Placed
from quandary_server.simulator.solids import Solids, cast_at

CLEARANCE_M = 0.15
MIN_DEPTH_M = 0.3
TRUNCATION_BESIDE = 0.9  # of what reaches beside or behind the camera
DRAWN = ("Pedestrian",)
"""Classes whose 2D boxes are drawn around what is seen; the others' are their 3D boxes projected. So it is in KITTI, where the
two overlap by 0.7 (median IoU) for pedestrians and by 0.98 for all others."""


@dataclass(frozen=True, eq=False)
class Sight:
    """A body in view. truncation: share of its image box outside the image. visible: share of its surface within the image
    that no other body hides, in [0, 1]."""

    owner: int
    class_name: str
    lookalike: str
    box: Box3D
    image_box: ImageBox
    truncation: float
    visible: float

    @property
    def distance_m(self) -> float:
        """Distance from the LiDAR along the ground."""
        return float(np.hypot(self.box.x_m, self.box.y_m))


def sights(bodies: Sequence[tuple[int, Placed]], pose: Pose, calibration: Calibration, solids: Sequence[Solids]) -> list[Sight]:
    """Return what can be made out of the bodies (owner, body), nearest first; wholly hidden ones are left out."""
    framed: list[tuple[int, Placed, Box3D, ImageBox, float]] = []
    for owner, placed in bodies:
        box = lidar_box(placed, pose)
        if (frame := _framed(placed, box, pose, calibration)) is not None:
            framed.append((owner, placed, box, *frame))

    visible = _visible_shares([(owner, placed) for owner, placed, *_ in framed], pose, calibration, solids)
    found = []
    for (owner, placed, box, image_box, truncation), share in zip(framed, visible.tolist(), strict=True):
        if share > 0:
            found.append(Sight(owner, placed.body.class_name, placed.body.lookalike, box, image_box, truncation, share))
    return sorted(found, key=lambda sight: (sight.distance_m, sight.owner))


def lidar_box(placed: Placed, pose: Pose) -> Box3D:
    """Return a body's box in the LiDAR frame; the lean of the LiDAR moves its centre and does not turn it."""
    length, width, height = placed.body.extents_m
    x, y, z = pose.to_lidar(np.array([placed.x_m, placed.y_m, placed.z_m + height / 2])).tolist()
    yaw = (placed.yaw_rad - pose.yaw_rad + np.pi) % (2 * np.pi) - np.pi
    return Box3D(x, y, z, length, width, height, float(yaw))


def _visible_shares(
    bodies: Sequence[tuple[int, Placed]], pose: Pose, calibration: Calibration, solids: Sequence[Solids]
) -> NDArray[np.float64]:
    if not bodies:
        return np.zeros(0)
    targets = np.concatenate([placed.in_drive(placed.body.samples) for _, placed in bodies])
    owners = np.repeat([owner for owner, _ in bodies], SAMPLES)

    pixels, depth = calibration.project(pose.to_lidar(targets))
    in_view = (depth > 0.1) & (pixels >= 0).all(axis=1)
    in_view &= (pixels < [calibration.image_width_px, calibration.image_height_px]).all(axis=1)

    eye = pose.from_lidar(calibration.rays(np.zeros((1, 2)))[0]) + pose.position
    offsets = targets - eye
    distance = np.linalg.norm(offsets, axis=1)
    directions = offsets / distance[:, None]
    hits = cast_at(solids, eye, directions)
    # Its own near side in the way of its far side hides nothing.
    seen = in_view & ((hits.owner == owners) | (hits.distance_m > distance - CLEARANCE_M))
    inside = in_view.reshape(-1, SAMPLES).sum(axis=1)
    return np.asarray(seen.reshape(-1, SAMPLES).sum(axis=1) / np.maximum(inside, 1))


def _framed(placed: Placed, box: Box3D, pose: Pose, calibration: Calibration) -> tuple[ImageBox, float] | None:
    """Return a body's image box within the image and the share of it outside, or None if it is out of view."""
    outline = box.corners()
    if placed.body.class_name in DRAWN:
        outline = pose.to_lidar(placed.in_drive(placed.body.mesh.triangles.reshape(-1, 3).astype(np.float64)))
    pixels, depth = calibration.project(outline)
    if (depth < MIN_DEPTH_M).any():
        cut = calibration.project_box(box)
        return None if cut is None else (cut, TRUNCATION_BESIDE)
    whole = ImageBox(*pixels.min(axis=0).tolist(), *pixels.max(axis=0).tolist())
    clipped = whole.clipped(calibration.image_width_px, calibration.image_height_px)
    return None if clipped is None else (clipped, max(1 - clipped.area_px / whole.area_px, 0.0))
