"""A figure of the candidate against its floor, and against the current generation's on the same control crops."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from quandary_server.detector.assessment import Assessment
from quandary_server.evaluation.bootstrap import MIN_GROUPS, grouping, resampled_interval
from quandary_server.evaluation.savings import Better
from quandary_server.registry.manifest import GateRecord
from quandary_server.settings.gates import GateSettings
from quandary_server.trainer.gates.figures import Figure
from quandary_server.trainer.gates.verdicts import MIN_CROPS, MIN_ERRORS, NO_CURRENT, undetermined

BOOTSTRAP_SEED = 0

Strings = NDArray[np.str_]


def figure_gate(
    figure: Figure,
    mine: Assessment,
    theirs: Assessment | None,
    drives: Strings,
    frames: Strings,
    settings: GateSettings,
) -> GateRecord:
    """Return the verdict on a figure of the candidate; theirs: of the current generation, None where there is none.

    Refused where the floor is broken, or where the paired 95 % bootstrap interval of the difference (by drive, else by frame)
    lies wholly beyond the slack on the worse side. Undetermined where errors, objects or frames are too few. drives, frames:
    of the crops (N,).
    """
    which = np.flatnonzero(figure.over(mine))
    if (few := _too_few(figure, mine, which)) is not None:
        return undetermined(figure.gate, few)
    value, floor = figure.value(mine, which), figure.floor(mine, which, settings)
    if value is None:
        return undetermined(figure.gate, "the control crops tell nothing of it", floor=floor)

    told = f"the {figure.title} is {value:.3f}{figure.unit}"
    if floor is not None and _worse(figure.better, value, floor):
        bound = f"{'at least' if figure.better is Better.HIGHER else 'at most'} {floor:.3f} is asked for, {figure.bound}"
        reference = None if theirs is None else figure.value(theirs, which)
        return _refused(figure, value, floor, reference, f"{told}; {bound}")
    if theirs is None:
        return GateRecord(
            gate=figure.gate, verdict="passed", candidate=value, floor=floor, reason=f"its floor holds; {NO_CURRENT}"
        )
    if (few := _not_paired(figure, theirs, which, drives, frames)) is not None:
        return undetermined(figure.gate, few, candidate=value, floor=floor)
    groups = _groups(drives[which], frames[which])
    return _compared(figure, mine, theirs, which, groups, value, floor, settings.slack)


def _refused(figure: Figure, value: float, floor: float, reference: float | None, reason: str) -> GateRecord:
    gate = figure.gate
    return GateRecord(gate=gate, verdict="refused", candidate=value, floor=floor, reference=reference, reason=reason)


def _compared(
    figure: Figure,
    mine: Assessment,
    theirs: Assessment,
    which: NDArray[np.intp],
    groups: Sequence[str],
    value: float,
    floor: float | None,
    slack: float,
) -> GateRecord:
    def difference(drawn: NDArray[np.intp]) -> float | None:
        ours, other = figure.value(mine, which[drawn]), figure.value(theirs, which[drawn])
        return None if ours is None or other is None else ours - other

    reference = figure.value(theirs, which)
    interval = resampled_interval(difference, groups, np.random.default_rng(BOOTSTRAP_SEED))
    if interval is None or reference is None:
        return undetermined(figure.gate, "the errors are in too few drives or frames to tell", candidate=value, floor=floor)
    # wholly on the worse side: its better end too
    end, allowed = (interval[1], -slack) if figure.better is Better.HIGHER else (interval[0], slack)
    worse = _worse(figure.better, end, allowed * abs(reference))
    told = f"the {figure.title} is {value:.3f}{figure.unit} against {reference:.3f}"
    within = f"the difference is within [{interval[0]:+.3f}, {interval[1]:+.3f}] (95 %)"
    than = f"worse than the current generation by more than {slack:.0%}"
    return GateRecord(
        gate=figure.gate,
        verdict="refused" if worse else "passed",
        candidate=value,
        reference=reference,
        difference=interval,
        floor=floor,
        # a refusal is told without the other fields, as a run's error
        reason=f"{told}; {within}: plainly {than}" if worse else f"not plainly {than}",
    )


def _too_few(figure: Figure, found: Assessment, which: NDArray[np.intp]) -> str | None:
    """Return why a figure of these crops tells nothing, None where it does."""
    if len(which) < MIN_CROPS:
        return f"{len(which)} labelled {figure.counted} of control drives, at least {MIN_CROPS} are needed to tell"
    errors = None if figure.errors is None else int((figure.errors(found)[which] > 0).sum())
    if errors is not None and errors < MIN_ERRORS:
        return f"{errors} errors on control drives, at least {MIN_ERRORS} are needed to tell"
    return None


def _not_paired(figure: Figure, theirs: Assessment, which: NDArray[np.intp], drives: Strings, frames: Strings) -> str | None:
    """Return why the two cannot be compared, None where they can."""
    if (few := _too_few(figure, theirs, which)) is not None:
        return f"the current generation has {few}"
    count = len(set(_groups(drives[which], frames[which])))
    return None if count >= MIN_GROUPS else f"the crops are of {count} frames, at least {MIN_GROUPS} are needed to tell"


def _groups(drives: Strings, frames: Strings) -> Sequence[str]:
    return grouping(drives.tolist(), frames.tolist())


def _worse(better: Better, value: float, than: float) -> bool:
    return value < than if better is Better.HIGHER else value > than
