"""A member in memory: one net, and what it draws for crops."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from quandary_server.inference.device import Device, Floats, Host, Run
from quandary_server.inference.masks import Masks, dropout_masks, whole_masks
from quandary_server.registry.manifest import NetRecord


class MemberDraws(NamedTuple):
    """What a member draws for D crops: logits (T, D, C), box (T, D, 10), box_log_variance (T, D, 7), embedding (D, E)."""

    logits: Floats
    box: Floats
    box_log_variance: Floats
    embedding: Floats


class LoadedMember:
    """Member `index` of a generation, on a device. Immutable; one thread at a time may draw."""

    def __init__(self, model: bytes, index: int, net: NetRecord, device: Device | None = None) -> None:
        self._device = device or Host()
        self._net = self._device.open(model)
        self._index, self._dropout = index, net.dropout
        self._widths = (net.embedding, net.hidden)

    def draw(self, maps: Floats, geometry: Floats, mc_samples: int | None, seed: int) -> MemberDraws:
        """Return the draws for D >= 1 crops: maps (D, 3, side, side), geometry (D, G).

        mc_samples: T, of the masks of this seed; None: T = 1, nothing is dropped.
        """
        return self.draw_placed(self._device.place(maps, geometry), mc_samples, seed)

    def draw_placed(self, crops: Sequence[Run[Any]], mc_samples: int | None, seed: int) -> MemberDraws:
        """Return the draws for crops that the member's device has placed; else as `draw`."""
        masks = self._masks(mc_samples, seed)
        return along_crops([MemberDraws(*self._net.run(run, masks)) for run in crops])

    def _masks(self, mc_samples: int | None, seed: int) -> Masks:
        if mc_samples is None:
            return whole_masks(self._widths)
        return dropout_masks(seed, self._index, mc_samples, self._widths, self._dropout)


def along_crops(parts: Sequence[MemberDraws]) -> MemberDraws:
    """Return one member's draws for some crops and for those that follow, as one."""
    if len(parts) == 1:
        return parts[0]
    axes = (1, 1, 1, 0)
    return MemberDraws(*(np.concatenate(a, axis=axis) for a, axis in zip(zip(*parts, strict=True), axes, strict=True)))


def each_crops(draws: MemberDraws, counts: Sequence[int]) -> list[MemberDraws]:
    """Return one member's draws as those for the first so many crops, for the next, and so on."""
    ends = np.cumsum(counts)
    parts = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
    logits, box, log_variance, embedding = draws
    return [MemberDraws(logits[:, part], box[:, part], log_variance[:, part], embedding[part]) for part in parts]
