"""Triangles that rays are cast at, with what is known of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray

from quandary_server.simulator.materials import REFLECTIVITY, Material
from quandary_server.simulator.meshes import Mesh
from quandary_server.simulator.placing import Placed

NOBODY = -1


@dataclass(frozen=True, eq=False)
class Hits:
    """Where rays (n,) end: distance in metres (infinity if nowhere), owner (NOBODY for the ground), material, reflectivity
    in [0, 1] and the cosine of the angle of incidence."""

    distance_m: NDArray[np.float64]
    owner: NDArray[np.int32]
    material: NDArray[np.uint8]
    reflectivity: NDArray[np.float32]
    cos_incidence: NDArray[np.float32]


class Solids:
    """Bodies in place, each with its owner's number, and perhaps the ground, that rays are cast at."""

    def __init__(self, bodies: Sequence[tuple[int, Placed]], ground: Mesh | None = None) -> None:
        meshes = [p.body.mesh.moved(p.x_m, p.y_m, p.z_m, p.yaw_rad) for _, p in bodies]
        owners = [np.full(len(m.triangles), owner, np.int32) for (owner, _), m in zip(bodies, meshes, strict=True)]
        shades = [p.body.shades[m.materials] for (_, p), m in zip(bodies, meshes, strict=True)]
        if ground is not None:
            meshes.append(ground)
            owners.append(np.full(len(ground.triangles), NOBODY, np.int32))
            shades.append(np.ones(len(ground.triangles), np.float32))

        self._scene = EmbreeScene()
        if meshes:
            TriangleMesh(self._scene, np.concatenate([m.triangles for m in meshes]))
            # The last row of each table answers for rays that hit nothing, whose triangle is -1.
            materials = np.concatenate([m.materials for m in meshes])
            reflectivity = np.minimum(REFLECTIVITY[materials] * np.concatenate(shades), 1.0)
            self._owners = np.append(np.concatenate(owners), np.int32(NOBODY))
            self._materials = np.append(materials, np.uint8(Material.ROAD))
            self._reflectivity = np.append(reflectivity, 0.0).astype(np.float32)
        self._empty = not meshes

    def cast(self, origin: NDArray[np.float64], directions: NDArray[np.float64]) -> Hits:
        """Return where rays from `origin` (3,) along unit `directions` (n, 3) first end."""
        n = len(directions)
        if self._empty or n == 0:
            nothing = np.zeros(n, np.float32)
            return Hits(np.full(n, np.inf), np.full(n, NOBODY, np.int32), np.zeros(n, np.uint8), nothing, nothing)
        rays = np.ascontiguousarray(directions, np.float32)
        found = self._scene.run(
            np.broadcast_to(origin.astype(np.float32), rays.shape).copy(), rays, query="INTERSECT", output=True
        )
        triangle = np.where(found["geomID"] == -1, -1, found["primID"])
        normal = found["Ng"]
        length = np.sqrt(np.einsum("ij,ij->i", normal, normal))
        cosine = np.abs(np.einsum("ij,ij->i", normal, rays)) / np.maximum(length, np.float32(1e-12))
        distance = np.where(triangle < 0, np.inf, found["tfar"].astype(np.float64))
        return Hits(distance, self._owners[triangle], self._materials[triangle], self._reflectivity[triangle], cosine)


def cast_at(solids: Sequence[Solids], origin: NDArray[np.float64], directions: NDArray[np.float64]) -> Hits:
    """Return where rays first end in any of the solids, of which there is at least one."""
    return reduce(_nearest, (each.cast(origin, directions) for each in solids))


def _nearest(first: Hits, second: Hits) -> Hits:
    nearer = second.distance_m < first.distance_m
    return Hits(
        np.where(nearer, second.distance_m, first.distance_m),
        np.where(nearer, second.owner, first.owner),
        np.where(nearer, second.material, first.material),
        np.where(nearer, second.reflectivity, first.reflectivity),
        np.where(nearer, second.cos_incidence, first.cos_incidence),
    )
