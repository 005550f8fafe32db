"""Triangle meshes, each in its own frame: x ahead, y left, z up from the ground, in metres."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import trimesh.creation
from numpy.typing import ArrayLike, NDArray

from quandary_server.simulator.materials import Material

Triangles = NDArray[np.float32]
Shape = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Mesh:
    """triangles: float32 (n, 3, 3), corner by corner. materials: uint8 (n,)."""

    triangles: Triangles
    materials: NDArray[np.uint8]

    def moved(self, x_m: float, y_m: float, z_m: float, yaw_rad: float = 0.0) -> "Mesh":
        """Return the mesh turned about z and then shifted."""
        cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
        rotation = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
        return Mesh((self.triangles @ rotation + np.array([x_m, y_m, z_m])).astype(np.float32), self.materials)

    def extents(self) -> tuple[float, float, float]:
        """Return length, width and height of the box around the mesh that is centred on its origin and stands on the ground."""
        corners = self.triangles.reshape(-1, 3)
        length, width = (2 * np.abs(corners[:, :2]).max(axis=0)).tolist()
        return float(length), float(width), float(corners[:, 2].max())


def of(triangles: NDArray[np.floating], material: Material) -> Mesh:
    """Return triangles (..., 3, 3) as a mesh of one material."""
    flat = np.ascontiguousarray(triangles, np.float32).reshape(-1, 3, 3)
    return Mesh(flat, np.full(len(flat), material, np.uint8))


def joined(meshes: Sequence[Mesh]) -> Mesh:
    """Return several meshes as one."""
    if not meshes:
        return Mesh(np.empty((0, 3, 3), np.float32), np.empty(0, np.uint8))
    return Mesh(np.concatenate([m.triangles for m in meshes]), np.concatenate([m.materials for m in meshes]))


def block(low: ArrayLike, high: ArrayLike, material: Material) -> Mesh:
    """Return the axis-aligned block between two corners (3,)."""
    low, high = np.asarray(low, float), np.asarray(high, float)
    return of(_unit_box() * (high - low) + (low + high) / 2, material)


def ball(centre: ArrayLike, radii: ArrayLike, material: Material) -> Mesh:
    """Return the ellipsoid with this centre (3,) and these semi-axes (3,)."""
    return of(_unit_ball() * np.asarray(radii) + np.asarray(centre), material)


def rods(starts: ArrayLike, ends: ArrayLike, radii: ArrayLike, material: Material) -> Mesh:
    """Return cylinders from starts (n, 3) to ends (n, 3) with radii (n,)."""
    start, end = np.atleast_2d(np.asarray(starts, float)), np.atleast_2d(np.asarray(ends, float))
    radius = np.broadcast_to(np.asarray(radii, float), len(start))
    along = end - start
    unit = along / np.linalg.norm(along, axis=1, keepdims=True)
    # Any vector that is not parallel to the rod gives the first of the two directions across it.
    helper = np.where(np.abs(unit[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    first = np.cross(unit, helper)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(unit, first)
    frames = np.stack([first * radius[:, None], second * radius[:, None], along], axis=1)  # (n, 3, 3), one axis a row
    return of(np.einsum("tca,nax->ntcx", _unit_rod(), frames) + start[:, None, None, :], material)


def lofted(rings: NDArray[np.floating], materials: NDArray[np.integer]) -> Mesh:
    """Return the closed skin through rings (k, m, 3) of convex outlines, with materials (k - 1, m) and both ends capped.

    The face between rings i, i + 1 and ring points j, j + 1 is of materials[i, j]; the caps are of materials[i, 0].
    """
    around = np.roll(rings, -1, axis=1)
    sides = _quads(rings[:-1], around[:-1], around[1:], rings[1:])
    count = rings.shape[1] - 2
    caps = [np.stack([np.repeat(ring[:1], count, axis=0), ring[1:-1], ring[2:]], axis=1) for ring in (rings[0], rings[-1])]
    flat = np.repeat(materials.ravel(), 2)
    ends = np.repeat([materials[0, 0], materials[-1, 0]], count)
    return Mesh(np.concatenate([sides, *caps]).astype(np.float32), np.concatenate([flat, ends]).astype(np.uint8))


def sheet(grid: NDArray[np.floating], materials: Sequence[Material]) -> Mesh:
    """Return the open surface through grid (k, m, 3), strip j between grid points j and j + 1 of materials[j]."""
    faces = _quads(grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1])
    return Mesh(faces.astype(np.float32), np.repeat(np.tile(np.array(materials, np.uint8), len(grid) - 1), 2))


def leaves(rng: np.random.Generator, centre: ArrayLike, radii: ArrayLike, count: int, size_m: float) -> Mesh:
    """Return `count` triangles of about `size_m`, scattered in an ellipsoid: foliage, through which some rays pass."""
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    middles = directions * rng.uniform(0.3, 1.0, (count, 1)) ** (1 / 3) * np.asarray(radii) + np.asarray(centre)
    middles[:, 2] = np.maximum(middles[:, 2], size_m / 2)
    return of(middles[:, None, :] + rng.normal(0.0, size_m / 2, (count, 3, 3)), Material.LEAF)


def _quads(
    a: NDArray[np.floating], b: NDArray[np.floating], c: NDArray[np.floating], d: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Return two triangles for each quad a, b, c, d (..., 3)."""
    return np.stack([np.stack([a, b, c], axis=-2), np.stack([a, c, d], axis=-2)], axis=-3).reshape(-1, 3, 3)


@cache
def _unit_box() -> Shape:
    return np.array(trimesh.creation.box((1, 1, 1)).triangles)


@cache
def _unit_ball() -> Shape:
    return np.array(trimesh.creation.icosphere(subdivisions=1, radius=1.0).triangles)


@cache
def _unit_rod() -> Shape:
    standing = trimesh.creation.cylinder(radius=1.0, height=1.0, sections=8).apply_translation([0.0, 0.0, 0.5])
    return np.array(standing.triangles)
