"""The ground of a street: carriageway, kerbs, pavements, verges and what lies behind the fronts."""

import numpy as np

from quandary_server.simulator.kinds import StreetKind
from quandary_server.simulator.materials import Material
from quandary_server.simulator.meshes import Mesh, sheet
from quandary_server.simulator.path import StreetPath
from quandary_server.simulator.profile import Side

SPACING_M = 3.0
BEYOND_M = 70.0


def ground(kind: StreetKind, sides: tuple[Side, Side], path: StreetPath, rng: np.random.Generator) -> Mesh:
    """Return the ground as one sheet along the street, a little uneven, more so behind the fronts."""
    left, right = sides
    kerb = kind.kerb_m
    soft = Material.GRASS if kind.verge_m > 0 or kind.front != "buildings" else Material.PAVING
    across = [
        (-right.front_m - BEYOND_M, kerb), (-right.front_m, kerb), (-right.pavement_end_m, kerb), (-right.kerb_m - 0.02, kerb),
        (-right.kerb_m, 0.0), (left.kerb_m, 0.0), (left.kerb_m + 0.02, kerb), (left.pavement_end_m, kerb), (left.front_m, kerb),
        (left.front_m + BEYOND_M, kerb),
    ]  # fmt: skip
    d, lift = np.array(across).T
    s = np.arange(path.s_m[0], path.end_m, SPACING_M)
    positions, _ = path.at(s[:, None], d)
    rough = np.where(np.isin(np.arange(len(d)), (0, 1, 8, 9)), 0.05, 0.012)
    positions[..., 2] += lift + rng.normal(0.0, 1.0, positions.shape[:2]) * rough
    paving = Material.PAVING
    materials = [soft, soft, paving, paving, Material.ROAD, paving, paving, soft, soft]
    return sheet(positions, materials)
