"""Is there enough to train on, and to judge by?"""

from collections.abc import Iterator

import numpy as np

from quandary.errors import TooLittleData, Violation
from quandary_server.settings.trainer import TrainerSettings
from quandary_server.storage.snapshots import Snapshot
from quandary_server.trainer.labelled import LabelledExamples

MIN_CLASSES = 2


def check_enough(snapshot: Snapshot, labelled: LabelledExamples, settings: TrainerSettings) -> None:
    """Raise TooLittleData, saying what is missing: labels, classes, or the clouds of what is labelled."""
    missing = [*_too_few(labelled, settings.min_crops), *_unreadable(snapshot, labelled, settings.max_unreadable)]
    if missing:
        why = f" (the first: {labelled.problem})" if labelled.problem else ""
        raise TooLittleData(f"too little to train on: {'; '.join(map(str, missing))}{why}", violations=missing)


def _too_few(labelled: LabelledExamples, least: int) -> Iterator[Violation]:
    crops, classes = len(labelled.training), len(np.unique(labelled.training.classes))
    if crops < least:
        yield Violation("training_crops", str(crops), f"at least {least}")
    if classes < MIN_CLASSES:
        yield Violation("training_classes", str(classes), f"at least {MIN_CLASSES}")


def _unreadable(snapshot: Snapshot, labelled: LabelledExamples, most: float) -> Iterator[Violation]:
    """Yield where so many clouds are gone that a candidate would be made, or judged, without much of what is labelled."""
    control = sum(frame.control for frame in snapshot.frames)
    parts = (
        ("training_frames", labelled.unreadable, len(snapshot.frames) - control),
        ("control_frames", labelled.unreadable_control, control),
    )
    for name, lost, count in parts:
        if len(lost) > most * count:
            yield Violation(f"unreadable_{name}", f"{len(lost)} of {count}", f"at most {most:.0%} of them")
