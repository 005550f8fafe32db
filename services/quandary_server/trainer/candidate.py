"""From fitted members to a generation in the registry."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from quandary.labels import CLASSES
from quandary.options import ScoringOptions
from quandary_server.detector.assessment import BACKGROUND_INDEX, Assessment, assessed
from quandary_server.detector.examples import Examples
from quandary_server.detector.settings import NetSettings
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.inference.provider import Provider
from quandary_server.inference.scores import score_many
from quandary_server.registry.directory import Artefacts, Registry
from quandary_server.registry.manifest import GateRecord, Manifest, NetRecord, generation_id, member_name, sha256
from quandary_server.trainer.members import Member
from quandary_server.uncertainty.summary import epistemic_variance

LEAST_SCALES = (1.0, 1.0, 1.0, 0.25, 0.25, 0.25, 0.03)
"""Floors: doubts under 1 m of the centre, half a unit of log size, 10 degrees of yaw do not weigh against the class's."""

NORMAL_MAD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""
MIN_CROPS_FOR_RANKS = 20


@dataclass(frozen=True)
class Candidate:
    """A generation that is not registered yet: number 0 of nothing, but ready to be judged."""

    members: tuple[Member, ...]
    draft: Manifest

    @property
    def files(self) -> dict[str, bytes]:
        """ONNX bytes by file name."""
        return {member_name(k): member.model for k, member in enumerate(self.members)}

    def load(self) -> LoadedGeneration:
        """Return it in memory."""
        return LoadedGeneration(Artefacts(self.draft, tuple(member.model for member in self.members)), Provider.CPU)

    def register(self, registry: Registry, gates: Sequence[GateRecord], metrics: Mapping[str, float]) -> Manifest:
        """Write it to the registry with its verdicts and figures; return its manifest."""

        def describe(number: int, generation: str, files: dict[str, str]) -> Manifest:
            known = {"number": number, "generation": generation, "files": files}
            return self.draft.model_copy(update={**known, "gates": tuple(gates), "metrics": dict(metrics)})

        return registry.register(self.files, describe)


def draft_candidate(
    members: Sequence[Member],
    net: NetSettings,
    examples: Examples,
    *,
    seed: int,
    now: datetime,
    parent: str,
    run: str,
    snapshot_digest: str,
    settings: Mapping[str, Any],
) -> Candidate:
    """Return the candidate of these members, fitted to these examples."""
    files = {member_name(k): sha256(member.model) for k, member in enumerate(members)}
    manifest = Manifest(
        generation=generation_id(1, files),
        number=1,
        created=now,
        parent=parent,
        run=run,
        classes=CLASSES,
        net=NetRecord(side=net.side, embedding=net.embedding, hidden=net.hidden, dropout=net.dropout),
        box_scales=box_scales(examples),
        seed=seed,
        files=files,
        snapshot_digest=snapshot_digest,
        training_crops=len(examples),
        settings=dict(settings),
    )
    return Candidate(tuple(members), manifest)


def registered_before(registry: Registry, candidate: Candidate) -> Manifest | None:
    """Return the manifest under which the same members of the same run were registered already, None where they were not."""
    files = {name: sha256(data) for name, data in candidate.files.items()}
    for name in registry.generations():
        manifest = registry.manifest(name)
        if manifest.run == candidate.draft.run and manifest.files == files:
            return manifest
    return None


def box_scales(examples: Examples) -> tuple[float, ...]:
    """Return the robust variance of each box parameter (7,) over labelled objects: what an epistemic variance is held against.

    It is (1.4826 MAD)^2: the few anchors that lie on what is behind their object rule a plain variance. The yaw's, plain, is
    bounded.
    """
    boxes = examples.boxes[examples.classes != BACKGROUND_INDEX].astype(np.float64)
    if len(boxes) < 2:
        return (1.0,) * 7
    spread = epistemic_variance(boxes[:, None])[0]
    plain = boxes[:, :6]
    spread[:6] = (NORMAL_MAD * np.median(np.abs(plain - np.median(plain, axis=0)), axis=0)) ** 2
    return tuple(np.maximum(spread, LEAST_SCALES).tolist())


def judge(generation: LoadedGeneration, examples: Examples, options: ScoringOptions) -> Assessment | None:
    """Return how a generation does on examples, None where there are none, or where not all of its answers are sound."""
    scores = score_many(generation, examples.rasters, options) if len(examples) else None
    return None if scores is None or not scores.usable.all() else assessed(scores, examples)


def seed_rank_correlation(
    generation: LoadedGeneration, examples: Examples, options: ScoringOptions, scores: NDArray[np.float64]
) -> float | None:
    """Return the rank correlation (Spearman) of the score between two seeds of masks; None for too few examples.

    scores (D,): of the examples by the options' own seed. Below 0.95 the ranks hang on the draw: raise mc_samples.
    """
    if len(examples) < MIN_CROPS_FOR_RANKS:
        return None
    other = replace(options, seed=generation.seed(options.seed) ^ 1)
    theirs = score_many(generation, examples.rasters, other).score
    correlation = float(spearmanr(scores.tolist(), theirs.tolist()).statistic)
    return correlation if np.isfinite(correlation) else None
