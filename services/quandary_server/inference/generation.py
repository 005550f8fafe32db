"""A generation in memory: one session per member."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from quandary.options import Estimator, ScoringOptions
from quandary_server.frustum.raster import Rasters
from quandary_server.inference.masks import Masks, dropout_masks, whole_masks
from quandary_server.inference.provider import Provider
from quandary_server.inference.session import INPUTS, OUTPUTS, open_session
from quandary_server.registry.directory import Artefacts
from quandary_server.registry.manifest import Manifest
from quandary_server.uncertainty.samples import Samples, softmax

EVERY_MEMBER = (Estimator.DEEP_ENSEMBLE, Estimator.ENSEMBLE_MC_DROPOUT)

CROPS_PER_RUN = 64
"""Larger batches save nothing and hold more memory."""


@dataclass(frozen=True)
class Draws:
    """What a generation draws for D crops: samples and the embedding (D, E) of the first member."""

    samples: Samples
    embedding: NDArray[np.float32]


class LoadedGeneration:
    """The members' sessions with their manifest. Immutable; one thread at a time may draw."""

    def __init__(self, artefacts: Artefacts, provider: Provider = Provider.AUTO) -> None:
        self.manifest: Manifest = artefacts.manifest
        self._sessions = [open_session(member, provider) for member in artefacts.members]
        self._widths = (self.manifest.net.embedding, self.manifest.net.hidden)

    @property
    def id(self) -> str:
        """The generation's id."""
        return self.manifest.generation

    @property
    def members(self) -> int:
        """Number of members."""
        return len(self._sessions)

    def seed(self, asked: int | None) -> int:
        """Return the seed of the masks: the one asked for, else the generation's own."""
        return self.manifest.seed if asked is None else asked

    def only(self, member: int) -> "LoadedGeneration":
        """Return the generation with one of its members (from 0) and no other; it shares the session."""
        alone = copy.copy(self)
        alone._sessions = [self._sessions[member]]
        return alone

    def draw(self, rasters: Rasters, estimator: Estimator, mc_samples: int, seed: int) -> Draws:
        """Return the draws of an estimator for D >= 1 crops; T = 1, mc_samples, members, or members x mc_samples.

        Raises ValueError for an estimator that is not one of these four.
        """
        runs = list(self._runs(estimator, mc_samples, seed))
        parts = [self._draw_part(rasters, part, runs) for part in _parts(len(rasters))]
        logits, box, log_variance, embedding = (
            np.concatenate(arrays, axis=axis) if len(arrays) > 1 else arrays[0]
            for arrays, axis in zip(zip(*parts, strict=True), (1, 1, 1, 0), strict=True)
        )
        probs = softmax(logits, self.manifest.temperature)
        samples = Samples(probs, box.astype(np.float64), log_variance.astype(np.float64))
        return Draws(samples, embedding)

    def _runs(self, estimator: Estimator, mc_samples: int, seed: int) -> Iterator[tuple[onnxruntime.InferenceSession, Masks]]:
        """Yield each session to run with its masks (T, .)."""
        every = estimator in EVERY_MEMBER
        if estimator in (Estimator.SOFTMAX, Estimator.DEEP_ENSEMBLE):
            masks = [whole_masks(self._widths)] * self.members
        elif estimator in (Estimator.MC_DROPOUT, Estimator.ENSEMBLE_MC_DROPOUT):
            dropout = self.manifest.net.dropout
            masks = [dropout_masks(seed, k, mc_samples, self._widths, dropout) for k in range(self.members if every else 1)]
        else:
            raise ValueError(f"estimator {estimator} is not served")
        yield from zip(self._sessions if every else self._sessions[:1], masks, strict=False)

    def _draw_part(
        self, rasters: Rasters, part: slice, runs: list[tuple[onnxruntime.InferenceSession, Masks]]
    ) -> tuple[NDArray[np.float32], ...]:
        outputs = []
        for session, masks in runs:
            inputs = dict(zip(INPUTS, (rasters.maps[part], rasters.geometry[part], *masks), strict=True))
            outputs.append(session.run(list(OUTPUTS), inputs))
        # (T, D, .) of each member, one after the other along T
        drawn = [np.concatenate([output[i] for output in outputs]) for i in range(3)]
        return (*drawn, outputs[0][3])


def sample_count(options: ScoringOptions, members: int) -> int:
    """Return T, the samples that an object gets."""
    masks = options.mc_samples if options.estimator in (Estimator.MC_DROPOUT, Estimator.ENSEMBLE_MC_DROPOUT) else 1
    return masks * (members if options.estimator in EVERY_MEMBER else 1)


def _parts(count: int) -> list[slice]:
    return [slice(start, min(start + CROPS_PER_RUN, count)) for start in range(0, count, CROPS_PER_RUN)]
