"""A generation that can draw, wherever its members are; and one whose members are all in memory here."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from quandary.options import Estimator, ScoringOptions
from quandary_server.frustum.raster import Rasters
from quandary_server.inference.cuda import open_device
from quandary_server.inference.device import Device
from quandary_server.inference.member import LoadedMember, MemberDraws
from quandary_server.inference.provider import Provider
from quandary_server.registry.directory import Artefacts
from quandary_server.registry.manifest import Manifest
from quandary_server.uncertainty.samples import Samples, detections_last, softmax

EVERY_MEMBER = (Estimator.DEEP_ENSEMBLE, Estimator.ENSEMBLE_MC_DROPOUT, Estimator.ESCALATE)
WITH_DROPOUT = (Estimator.MC_DROPOUT, Estimator.ENSEMBLE_MC_DROPOUT, Estimator.ESCALATE)


@dataclass(frozen=True)
class Draws:
    """What a generation draws for D crops: samples and the embedding (D, E) of the first member."""

    samples: Samples
    embedding: NDArray[np.float32]


class Generation(ABC):
    """Members with their manifest. What they draw is put together here, in one way wherever they are."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest

    @property
    def id(self) -> str:
        """The generation's id."""
        return self.manifest.generation

    @property
    def number(self) -> int:
        """The generation's number."""
        return self.manifest.number

    @property
    @abstractmethod
    def members(self) -> int:
        """Number of members."""

    @property
    def variance_scales(self) -> NDArray[np.float64]:
        """The factors (7,) that make of the box's variances, aleatoric and epistemic, what labels bear out."""
        return np.array(self.manifest.variance_scales)

    @property
    def epistemic_scales(self) -> NDArray[np.float64]:
        """The epistemic variances (7,) as drawn that count as one once scaled: what acquisition functions take."""
        return np.array(self.manifest.box_scales) / self.variance_scales

    def seed(self, asked: int | None) -> int:
        """Return the seed of the masks: the one asked for, else the generation's own."""
        return self.manifest.seed if asked is None else asked

    def for_request(self, deadline: float | None) -> Self:
        """Return it for one request that is given up at the deadline (time.monotonic()); `abandon` ends what that waits for."""
        return self

    def abandon(self) -> None:  # noqa: B027  # only what waits has something to end
        """End what this request still waits for: its caller has given up."""

    def draw(self, rasters: Rasters, estimator: Estimator, mc_samples: int, seed: int) -> Draws:
        """Return the draws of an estimator for D >= 1 crops; T = 1, mc_samples, members, or members x mc_samples.

        Raises ValueError for ESCALATE, which draws twice.
        """
        if estimator is Estimator.ESCALATE:
            raise ValueError(f"{estimator} draws by few masks, and by all of them")
        masks = mc_samples if estimator in WITH_DROPOUT else None
        if estimator in EVERY_MEMBER:
            return joined(self.draw_members(rasters, masks, seed), self.manifest.temperature)
        return joined([self.draw_first(rasters, masks, seed)], self.manifest.temperature)

    @abstractmethod
    def only(self, member: int) -> "Generation":
        """Return the generation with one of its members (from 0) and no other."""

    @abstractmethod
    def draw_members(self, rasters: Rasters, mc_samples: int | None, seed: int) -> Sequence[MemberDraws]:
        """Return the draws of every member, in their order."""

    @abstractmethod
    def draw_first(self, rasters: Rasters, mc_samples: int | None, seed: int) -> MemberDraws:
        """Return the draws of the first member."""


class LoadedGeneration(Generation):
    """All members on one device. Immutable; one thread at a time may draw."""

    def __init__(
        self, artefacts: Artefacts, where: Provider | Device = Provider.CPU, between: Callable[[], None] = lambda: None
    ) -> None:
        """Open the members, one after the other; between: called after each."""
        super().__init__(artefacts.manifest)
        net = artefacts.manifest.net
        self._device = open_device(where) if isinstance(where, Provider) else where
        members = []
        for k, model in enumerate(artefacts.members):
            members.append(LoadedMember(model, k, net, self._device))
            between()
        self.loaded: tuple[LoadedMember, ...] = tuple(members)

    @property
    def members(self) -> int:
        """Number of members."""
        return len(self.loaded)

    def only(self, member: int) -> "LoadedGeneration":
        """Return the generation with one of its members (from 0) and no other; it shares the net."""
        alone = copy.copy(self)
        alone.loaded = (self.loaded[member],)
        return alone

    def draw_members(self, rasters: Rasters, mc_samples: int | None, seed: int) -> list[MemberDraws]:
        """Return the draws of every member, in their order."""
        crops = self._device.place(rasters.maps, rasters.geometry)
        return [member.draw_placed(crops, mc_samples, seed) for member in self.loaded]

    def draw_first(self, rasters: Rasters, mc_samples: int | None, seed: int) -> MemberDraws:
        """Return the draws of the first member."""
        return self.loaded[0].draw(rasters.maps, rasters.geometry, mc_samples, seed)


def sample_count(options: ScoringOptions, members: int) -> int:
    """Return T, the samples that an object gets; with ESCALATE, one that escalates."""
    masks = options.mc_samples if options.estimator in WITH_DROPOUT else 1
    return masks * (members if options.estimator in EVERY_MEMBER else 1)


def joined(drawn: Sequence[MemberDraws], temperature: float) -> Draws:
    """Return the members' draws as one, one member after the other along T."""
    logits, box, log_variance = (
        np.concatenate(arrays) if len(arrays) > 1 else arrays[0] for arrays in list(zip(*drawn, strict=True))[:3]
    )
    samples = Samples(softmax(logits, temperature), detections_last(box), detections_last(log_variance))
    return Draws(samples, drawn[0].embedding)
