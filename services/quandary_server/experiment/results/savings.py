"""Labels, hours and euros saved at the targets."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np

from quandary_server.evaluation.savings import Saving, labels_saved, target_value
from quandary_server.experiment.methods import RANDOM
from quandary_server.experiment.results.measures import SAVED, Measure, saved_name
from quandary_server.experiment.results.records import Records, curve_of, mean_labelling_seconds, own_estimator

SAVINGS_SEED = 4


@dataclass(frozen=True)
class MethodSaving:
    """What a method saves in a replay at a share of the full pool's performance, against another (random sampling).

    left_out: seeds asked for of which an arm is not complete. hours, against_hours: labelling work up to the target.
    """

    replay: str
    method: str
    against: str
    measure: Measure
    share: float
    target: float
    saving: Saving
    left_out: int
    hours: float
    against_hours: float
    euros_per_hour: float

    @property
    def name(self) -> str:
        """The figure's name."""
        return saved_name(self.replay, self.method, self.measure.name, self.share)

    @property
    def caution(self) -> str:
        """What must stand behind the unit of its value."""
        return "" if self.saving.method_reached else ", target not reached"

    def sample(self) -> dict[str, Any]:
        """Return all of it, as it stands beside a figure; what a method saves that does not reach the target is None."""
        reached = self.saving.method_reached
        found: dict[str, Any] = {
            "replay": self.replay,
            "method": self.method,
            "measure": self.measure.name,
            "target": self.share,
            "value": self.saving.value if reached else None,
            "low": self.saving.low if reached else None,
            "high": self.saving.high if reached else None,
            "at_most": self.saving.at_most,
            "method_labels": round(self.saving.method_labels, 1),
            "random_labels": round(self.saving.random_labels, 1),
            "reached": reached,
            "random_reached": self.saving.random_reached,
            "seeds": self.saving.seeds,
            "left_out": self.left_out,
            "hours": self.hours,
            "random_hours": self.against_hours,
            "euros_saved": (self.against_hours - self.hours) * self.euros_per_hour if reached else None,
        }
        if self.against != RANDOM:
            found["against"] = self.against
        return found


def saving_of(
    records: Records, replay: str, method: str, measure: Measure, share: float, against: str = RANDOM
) -> MethodSaving | None:
    """Return what a method saves, judged with its own estimator, over the seeds of which both arms are complete.

    None where that is undetermined: no such seed, no full pool, nothing of the kind measured.
    """
    estimator = own_estimator(method)
    full_pool = records.full_pool(replay, estimator, measure)
    ours, theirs = records.complete(replay, method), records.complete(replay, against)
    pairs = [
        (ours[seed], theirs[seed], one, other)
        for seed in sorted(ours.keys() & theirs.keys())
        if (one := curve_of(ours[seed], estimator, measure)) is not None
        and (other := curve_of(theirs[seed], estimator, measure)) is not None
    ]
    if full_pool is None or not pairs:
        return None
    target = target_value(full_pool, share, measure.better)
    name = saved_name(replay, method, measure.name, share)
    rng = np.random.default_rng([records.settings.seed, SAVINGS_SEED, crc32(name.encode())])
    found = labels_saved([pair[2] for pair in pairs], [pair[3] for pair in pairs], target, measure.better, rng)
    asked = records.settings.replays[replay].methods
    return MethodSaving(
        replay=replay,
        method=method,
        against=against,
        measure=measure,
        share=share,
        target=target,
        saving=found,
        left_out=min(asked.get(method, 0), asked.get(against, 0)) - len(pairs),
        hours=float(np.interp(found.method_labels, *mean_labelling_seconds([pair[0] for pair in pairs]))) / 3600,
        against_hours=float(np.interp(found.random_labels, *mean_labelling_seconds([pair[1] for pair in pairs]))) / 3600,
        euros_per_hour=records.settings.cost.euros_per_hour,
    )


def all_savings(records: Records) -> Iterator[MethodSaving]:
    """Yield what every method but random saves in every replay, by measure and target; the undetermined are left out."""
    for replay in records.settings.replays:
        for method in records.methods(replay):
            if method == RANDOM:
                continue
            for measure in SAVED:
                for share in records.settings.targets:
                    found = saving_of(records, replay, method, measure, share)
                    if found is not None:
                        yield found
