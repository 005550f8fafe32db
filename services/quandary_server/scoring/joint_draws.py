"""What several calls ask a member for, drawn as one: in the spread topology members batch."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from quandary_server.inference.device import Floats
from quandary_server.inference.member import LoadedMember, MemberDraws, each_crops
from quandary_server.scoring.batch import Together
from quandary_server.scoring.engine import MAX_DRAWS


class Crops(NamedTuple):
    """Maps (D, 3, side, side) and geometry (D, G) of one call."""

    maps: Floats
    geometry: Floats


def drawn_together(
    member: LoadedMember, generation: str, crops: Crops, mc_samples: int | None, seed: int
) -> Together[Crops, MemberDraws]:
    """Return the drawing of a call's crops, which others of the same generation, masks and shapes may be drawn with."""
    return Together(
        kind=(generation, mc_samples, seed, crops.maps.shape[1:], crops.geometry.shape[1:]),
        asked=crops,
        crops=len(crops.maps),
        most=MAX_DRAWS // (mc_samples or 1),
        compute=partial(_draw, member, mc_samples, seed),
    )


def _draw(member: LoadedMember, mc_samples: int | None, seed: int, calls: Sequence[Crops]) -> list[MemberDraws]:
    if len(calls) == 1:
        return [member.draw(*calls[0], mc_samples, seed)]
    maps, geometry = (np.concatenate(arrays) for arrays in zip(*calls, strict=True))
    return each_crops(member.draw(maps, geometry, mc_samples, seed), [len(call.maps) for call in calls])
