"""Do the members still disagree? An ensemble whose members are one function has no epistemic uncertainty left to tell."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from quandary.options import Estimator
from quandary_server.detector.examples import Examples
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.inference.parts import parts_of
from quandary_server.registry.manifest import GateRecord
from quandary_server.trainer.gates.verdicts import undetermined
from quandary_server.uncertainty.entropy import entropy

GATE = "disagreement"

Array = NDArray[np.float64]


def disagreement_gate(generation: LoadedGeneration, examples: Examples, floor: float) -> GateRecord:
    """Return the verdict on the two members that agree most, over D >= 0 crops; labels do not matter.

    Their figure is the mutual information of class and member over the expected entropy, both summed over the crops: 0 where
    the two are the same function. Refused below the floor, and where two members have the same digest.
    """
    files = generation.manifest.files
    digests = [files[name] for name in generation.manifest.members]
    if (same := _first_equal(digests)) is not None:
        reason = f"members {same[0]} and {same[1]} are the same file: there is nothing that they could disagree about"
        return GateRecord(gate=GATE, verdict="refused", candidate=0.0, floor=floor, reason=reason)
    if len(digests) < 2:
        return undetermined(GATE, "a single member has nobody to disagree with", floor=floor)
    if len(examples) < 2:
        return undetermined(GATE, "there are no crops to disagree about", floor=floor)

    rasters, seed = examples.rasters, generation.seed(None)
    drawn = [
        generation.draw(rasters.take(part), Estimator.DEEP_ENSEMBLE, 2, seed).samples.probs for part in parts_of(len(examples))
    ]
    probs = np.concatenate(drawn, axis=1)  # (M, D, C)
    share, first, second = least_disagreement(probs)
    told = f"members {first} and {second} differ least: by {share:.3g} of what each is unsure about"
    collapsed = share < floor
    return GateRecord(
        gate=GATE,
        verdict="refused" if collapsed else "passed",
        candidate=share,
        floor=floor,
        reason=f"{told}; at least {floor:g} is asked for: they are as good as one function" if collapsed else told,
    )


def least_disagreement(probs: Array) -> tuple[float, int, int]:
    """Return the least mutual information over expected entropy of any two of M members, and which two: probs (M, D, C).

    Both are summed over D. Where the two are sure of everything the share is 0 if they agree, and infinite at most 1e9 if not.
    """
    entropies = entropy(probs).sum(axis=-1)
    found = []
    for first, second in combinations(range(len(probs)), 2):
        expected = (entropies[first] + entropies[second]) / 2
        total = entropy((probs[first] + probs[second]) / 2).sum()
        found.append((float(max(total - expected, 0.0) / max(expected, 1e-9)), first, second))
    return min(found)


def _first_equal(digests: Sequence[str]) -> tuple[int, int] | None:
    return next(((i, j) for i, j in combinations(range(len(digests)), 2) if digests[i] == digests[j]), None)
