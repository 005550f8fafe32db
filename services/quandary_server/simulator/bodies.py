"""A body is what stands in a street: its mesh, its box, and what it is."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from quandary_server.simulator.materials import SHADE_SPREAD
from quandary_server.simulator.meshes import Mesh

Shades = NDArray[np.float32]

SAMPLES = 48


@dataclass(frozen=True, eq=False)
class Body:
    """A mesh in its own frame with its box of length, width and height, centred on the origin and standing on the ground.

    class_name: one of quandary's label classes, or empty for clutter. shades: float32 (materials,), how bright each material
    of this one body is against its kind. lookalike: what a 2D detector may take a piece of clutter for.
    """

    mesh: Mesh
    extents_m: tuple[float, float, float]
    class_name: str
    shades: Shades
    lookalike: str = ""

    @cached_property
    def samples(self) -> NDArray[np.float64]:
        """Points (SAMPLES, 3) spread over the mesh by area, always the same ones."""
        a, b, c = (self.mesh.triangles[:, corner].astype(np.float64) for corner in range(3))
        areas = np.linalg.norm(np.cross(b - a, c - a), axis=1)
        cumulative = np.cumsum(areas)
        chosen = np.searchsorted(cumulative, (np.arange(SAMPLES) + 0.5) / SAMPLES * cumulative[-1])
        # Steps of the golden ratio (and of its sister for two dimensions) spread the points within large triangles.
        u, v = (np.arange(SAMPLES) * 0.618034) % 1.0, (np.arange(SAMPLES) * 0.754878) % 1.0
        u, v = np.where(u + v > 1, 1 - u, u)[:, None], np.where(u + v > 1, 1 - v, v)[:, None]
        return np.asarray(a[chosen] + u * (b[chosen] - a[chosen]) + v * (c[chosen] - a[chosen]))


def drawn_shades(rng: np.random.Generator) -> Shades:
    """Return the shades (materials,) of one body: log-normal, mean 1."""
    spread = SHADE_SPREAD
    return np.exp(rng.normal(0.0, 1.0, len(spread)) * spread - spread**2 / 2).astype(np.float32)


def clutter(mesh: Mesh, rng: np.random.Generator, lookalike: str = "") -> Body:
    """Return a mesh as a piece of clutter."""
    return Body(mesh, mesh.extents(), "", drawn_shades(rng), lookalike)


def drawn_size(rng: np.random.Generator, means: tuple[float, ...], deviations: tuple[float, ...]) -> tuple[float, ...]:
    """Return sizes in metres, normal about their means and within two deviations of them."""
    spread = np.clip(rng.normal(size=len(means)), -2.0, 2.0)
    return tuple((np.array(means) + spread * np.array(deviations)).tolist())
