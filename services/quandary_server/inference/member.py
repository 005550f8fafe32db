"""A member in memory: one session, and what it draws for crops."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quandary_server.inference.masks import Masks, dropout_masks, whole_masks
from quandary_server.inference.provider import Provider
from quandary_server.inference.session import INPUTS, OUTPUTS, open_session
from quandary_server.registry.manifest import NetRecord

CROPS_PER_RUN = 64
"""Larger batches save nothing and hold more memory."""

Floats = NDArray[np.float32]


class MemberDraws(NamedTuple):
    """What a member draws for D crops: logits (T, D, C), box (T, D, 10), box_log_variance (T, D, 7), embedding (D, E)."""

    logits: Floats
    box: Floats
    box_log_variance: Floats
    embedding: Floats


class LoadedMember:
    """Member `index` of a generation. Immutable; one thread at a time may draw."""

    def __init__(self, model: bytes, index: int, net: NetRecord, provider: Provider = Provider.AUTO) -> None:
        self._session = open_session(model, provider)
        self._index, self._dropout = index, net.dropout
        self._widths = (net.embedding, net.hidden)

    def draw(self, maps: Floats, geometry: Floats, mc_samples: int | None, seed: int) -> MemberDraws:
        """Return the draws for D >= 1 crops: maps (D, 3, side, side), geometry (D, G).

        mc_samples: T, of the masks of this seed; None: T = 1, nothing is dropped.
        """
        masks = self._masks(mc_samples, seed)
        return along_crops([self._run(maps[part], geometry[part], masks) for part in crop_slices(len(maps), CROPS_PER_RUN)])

    def _masks(self, mc_samples: int | None, seed: int) -> Masks:
        if mc_samples is None:
            return whole_masks(self._widths)
        return dropout_masks(seed, self._index, mc_samples, self._widths, self._dropout)

    def _run(self, maps: Floats, geometry: Floats, masks: Masks) -> MemberDraws:
        inputs = dict(zip(INPUTS, (maps, geometry, *masks), strict=True))
        return MemberDraws(*self._session.run(list(OUTPUTS), inputs))


def along_crops(parts: Sequence[MemberDraws]) -> MemberDraws:
    """Return one member's draws for some crops and for those that follow, as one."""
    if len(parts) == 1:
        return parts[0]
    axes = (1, 1, 1, 0)
    return MemberDraws(*(np.concatenate(a, axis=axis) for a, axis in zip(zip(*parts, strict=True), axes, strict=True)))


def crop_slices(count: int, most: int) -> list[slice]:
    """Return slices of at most so many crops."""
    return [slice(start, min(start + most, count)) for start in range(0, count, most)]
