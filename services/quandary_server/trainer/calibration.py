"""What makes probabilities and variances believable: a temperature, and variance scales of the box.

They are fitted on control drives of their own, which no gate sees: what is fitted to a label flatters whom that label judges.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quandary.options import ScoringOptions
from quandary_server.detector.assessment import BACKGROUND_INDEX
from quandary_server.detector.examples import Examples
from quandary_server.evaluation.boxes import parameter_errors
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.registry.manifest import sha256
from quandary_server.trainer.candidate import Candidate
from quandary_server.trainer.gates.verdicts import MIN_CROPS as MIN_GATE_CROPS
from quandary_server.uncertainty.calibration import fit_temperature
from quandary_server.uncertainty.coverage import fit_variance_scales, total_variance
from quandary_server.uncertainty.samples import log_probabilities
from quandary_server.uncertainty.summary import summarise

SHARE = 1 / 3
"""Of the control drives: eight numbers are fitted there, the gates have to tell small differences on the others."""

MIN_DRIVES = 6
"""With fewer drives frames are shared out: a part of one drive or two would be judged by the luck of that drive."""

MIN_CROPS, MIN_OBJECTS = 50, 30
"""Below that a temperature, or a variance scale, would scatter by a fifth or more, and is 1."""

MAX_CROPS = 4000
"""Of more, every second, third and so on is used: the draws of all would fill the memory, and tell nothing new."""

SCALES = (0.01, 100.0)
"""The range of a variance scale: one beyond is a net that has not learnt the parameter."""

NO_SCALES = (1.0,) * 7


@dataclass(frozen=True)
class ControlSplit:
    """The labelled crops of control drives: those to calibrate on and those that the gates see; told: how they were split."""

    calibration: Examples
    gates: Examples
    told: str

    @property
    def thresholds(self) -> Examples:
        """What thresholds are found on: the crops to calibrate on, or all where there are none."""
        return self.calibration if len(self.calibration) else self.gates


def split_control(control: Examples) -> ControlSplit:
    """Return the control crops in two parts, by a stable hash of their drives, or of their frames where drives are few.

    Gates come first: where either part would be too small for its purpose they get all, and nothing is calibrated.
    """
    drives = np.unique(control.drives)
    held = hashed(control.drives.tolist())
    if len(drives) >= MIN_DRIVES and _enough(held):
        own = len(np.unique(control.drives[held]))
        return _parts(control, held, f"{own} of {len(drives)} control drives")
    held = hashed(control.frames.tolist())
    if _enough(held):
        frames = len(np.unique(control.frames))
        return _parts(control, held, f"{len(np.unique(control.frames[held]))} of {frames} control frames")
    nothing = np.zeros(len(control), np.bool_)
    told = f"not calibrated: of {len(control)} labelled crops of control drives {held.sum()} would be left to calibrate on"
    least = f"and {(~held).sum()} for the gates, at least {MIN_CROPS} and {MIN_GATE_CROPS} are needed"
    return _parts(control, nothing, f"{told} {least}")


def calibrated(candidate: Candidate, split: ControlSplit, options: ScoringOptions) -> Candidate:
    """Return the candidate with temperature and variance scales, fitted for the options' estimator; the others share them."""
    fitted = fit(candidate.load(), split, options)
    return replace(candidate, draft=candidate.draft.model_copy(update=fitted))


def fit(generation: LoadedGeneration, split: ControlSplit, options: ScoringOptions) -> dict[str, Any]:
    """Return temperature, variance_scales and calibration (in words), as manifests have them, of a generation without."""
    examples = _thinned(split.calibration)
    if not len(examples):
        return {"temperature": 1.0, "variance_scales": NO_SCALES, "calibration": split.told}
    drawn = generation.draw(examples.rasters, options.estimator, options.mc_samples, generation.seed(options.seed)).samples
    temperature = fit_temperature(log_probabilities(drawn.probs), examples.classes)

    objects = examples.classes != BACKGROUND_INDEX
    count, scales, told = int(objects.sum()), NO_SCALES, f"on {len(examples)} crops of {split.told}"
    if count >= MIN_OBJECTS:
        summary = summarise(drawn)
        errors = parameter_errors(examples.boxes[objects].astype(np.float64), summary.box[objects])
        variances = total_variance(summary.aleatoric[objects], summary.epistemic[objects])
        scales = tuple(np.clip(fit_variance_scales(errors, variances), *SCALES).tolist())
    else:
        told += f"; variances are not calibrated: {count} objects, at least {MIN_OBJECTS} are needed"
    return {"temperature": temperature, "variance_scales": scales, "calibration": told}


def hashed(names: Sequence[str]) -> NDArray[np.bool_]:
    """Return which names (N,) are for calibration: the third of them whose hashes are least.

    Of few names a bound on the hash alone would take none or most. When names come few others change sides.
    """
    ranked = sorted(set(names), key=lambda name: sha256(f"calibration/{name}".encode()))
    chosen = set(ranked[: round(SHARE * len(ranked))])
    return np.array([name in chosen for name in names], np.bool_)


def _enough(held: NDArray[np.bool_]) -> bool:
    return bool(held.sum() >= MIN_CROPS and (~held).sum() >= MIN_GATE_CROPS)


def _parts(control: Examples, held: NDArray[np.bool_], told: str) -> ControlSplit:
    return ControlSplit(control.take(held), control.take(~held), told)


def _thinned(examples: Examples) -> Examples:
    return examples.take(np.arange(0, len(examples), -(-len(examples) // MAX_CROPS) or 1))
