"""One arm: train, judge, score the pool, ask; round after round."""

import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quandary.errors import InvalidArgument
from quandary.options import Estimator, ScoringOptions
from quandary_server.detector.assessment import BACKGROUND_INDEX, assess
from quandary_server.detector.examples import Examples
from quandary_server.experiment.judging.uncertainty import ESTIMATORS, judged_uncertainty
from quandary_server.experiment.methods import METHODS, RANDOM
from quandary_server.experiment.pools.crops import Crops, Pool
from quandary_server.experiment.replay.figures import (
    MIN_CROPS_OF_CLASS,
    class_counts,
    judged_classes,
    labelling_seconds,
    round_figures,
)
from quandary_server.experiment.replay.rounds import ArmRecord, Judged, Round
from quandary_server.experiment.replay.scored import candidates, scored, taken
from quandary_server.experiment.replay.training import trained
from quandary_server.experiment.settings import ExperimentSettings, ReplaySettings
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.selection.plan import Strategy
from quandary_server.selection.query import query

FIRST, QUERY, FIT = 1, 2, 3
MAX_QUERIES = 8
MIN_CLASSES = 2
"""A net that knows one class only is always right."""

Indices = NDArray[np.intp]


class Arm:
    """One method with one seed on one pool. The first labels, and the seeds of the fits, are the same for all methods.

    pretraining: crops that every training has beside the labels.
    """

    def __init__(
        self,
        settings: ExperimentSettings,
        name: str,
        pool: Pool,
        method: str,
        seed: int,
        estimators: Sequence[Estimator],
        pretraining: Crops | None = None,
    ) -> None:
        self._settings, self._replay = settings, settings.replays[name]
        self._whole, self._pool, self._pretraining = pool, pool.pool, pretraining
        self._name, self._method_name, self._method = name, method, METHODS[method]
        self._seed, self._estimators = seed, estimators
        self._units = _units(self._pool.examples, self._replay)
        order = np.argsort(self._units, kind="stable")
        self._members = np.split(order, np.cumsum(np.bincount(self._units))[:-1])
        self._judged = judged_classes(pool.evaluation.examples, *_taught(pool, pretraining))
        self._budgets = budgets(self._replay, method, len(self._pool))
        self._stop = sum(budget <= _stop(self._replay, len(self._pool)) for budget in self._replay.budgets) - 1

    def run(self, before: ArmRecord | None = None) -> Iterator[ArmRecord]:
        """Yield the record after every round, going on where `before` ends; the last one is complete."""
        record = before or ArmRecord(replay=self._name, method=self._method_name, seed=self._seed, first=self._first())
        labelled = np.array([*record.first, *(i for r in record.rounds for i in r.picked)], np.intp)
        for number in range(len(record.rounds), len(self._budgets)):
            started, cpu = time.monotonic(), time.process_time()

            generation = self._trained(labelled, number)
            figures = self._measured(generation)
            picked = self._asked(generation, labelled, number)

            found = Round(
                number=number,
                labels=len(labelled),
                labelling_seconds=labelling_seconds(self._pool.examples.take(labelled), self._settings.cost),
                classes=class_counts(self._pool.examples.classes[labelled]),
                steps=self._steps(len(labelled)),
                cpu_seconds=time.process_time() - cpu,
                wall_seconds=time.monotonic() - started,
                figures=figures,
                picked=picked.tolist(),
            )
            labelled = np.concatenate([labelled, picked])
            last = number == len(self._budgets) - 1
            update: dict[str, Any] = {"rounds": (*record.rounds, found), "complete": last}
            if self._replay.judge and number == self._stop:
                update["at_stop"] = Judged(labels=found.labels, uncertainty=self._judgement(generation))
            if self._replay.judge and last and self._method_name == RANDOM:
                update["uncertainty"] = self._judgement(generation)
            record = record.model_copy(update=update)
            yield record

    def _first(self) -> list[int]:
        """Random units until there are as many labels as the first budget; the same for all methods of a seed."""
        order = self._rng(FIRST).permutation(int(self._units.max()) + 1)
        return [int(i) for i in self._members_of(order, self._budgets[0])]

    def _rng(self, *draw: int) -> np.random.Generator:
        """The stream of a draw: one of FIRST, QUERY and FIT, the latter two with their round."""
        return np.random.default_rng([self._settings.seed, self._seed, *draw])

    def _steps(self, labels: int) -> int:
        extra = len(self._pretraining) if self._pretraining else 0
        return self._settings.steps.steps(labels + extra)

    def _trained(self, labelled: Indices, number: int) -> LoadedGeneration:
        examples = self._pool.examples.take(labelled)
        if self._pretraining:
            examples = Examples.joined([self._pretraining.examples, examples])
        members = self._settings.members if self._method.ensemble else 1
        seed = int(self._rng(FIT, number).integers(2**31))
        return trained(self._settings, examples, steps=self._steps(len(labelled)), members=members, seed=seed)

    def _measured(self, generation: LoadedGeneration) -> dict[str, dict[str, float]]:
        found = {}
        for estimator in self._estimators:
            options = ScoringOptions(estimator, mc_samples=self._settings.mc_samples)
            assessment = assess(generation, self._whole.evaluation.examples, options)
            found[estimator.value] = round_figures(assessment, self._judged)
        return found

    def _judgement(self, generation: LoadedGeneration) -> dict[str, Any]:
        """Return how right the uncertainty is: of random sampling's nets by every estimator, of the others by their own."""
        estimators = ESTIMATORS if self._method_name == RANDOM else (self._method.estimator,)
        return judged_uncertainty(generation, self._whole, self._settings.mc_samples, estimators)

    def _asked(self, generation: LoadedGeneration, labelled: Indices, number: int) -> Indices:
        """Return the crops to label next; none after the last round."""
        if number + 1 == len(self._budgets):
            return np.empty(0, np.intp)
        wanted = self._budgets[number + 1] - len(labelled)
        left = np.setdiff1d(np.arange(len(self._pool)), labelled)
        if wanted >= len(left):
            return left
        rng = self._rng(QUERY, number)
        if self._method.plan.strategy is Strategy.RANDOM:
            return self._members_of(rng.permutation(np.unique(self._units[left])), wanted)
        return self._queried(generation, labelled, left, wanted, rng)

    def _queried(
        self, generation: LoadedGeneration, labelled: Indices, left: Indices, wanted: int, rng: np.random.Generator
    ) -> Indices:
        units, which = np.unique(self._units[left], return_inverse=True)
        crops, mc_samples = self._pool.take(left), self._settings.mc_samples
        waiting = candidates(crops, which, scored(generation, crops.examples, self._method, mc_samples), self._settings.cost)
        known = self._pool.take(labelled)
        embeddings = np.zeros((len(known), waiting.embeddings.shape[1]), np.float32)
        if self._method.plan.needs_embeddings:
            embeddings = scored(generation, known.examples, self._method, mc_samples).embeddings
        before = taken(known, embeddings)
        # a frame's crops are not known before it is picked: ask for more until they suffice
        k = max(round(wanted * len(units) / len(left)), 1)
        for _ in range(MAX_QUERIES):
            picked = units[query(waiting, before, self._method.plan, k, rng)]
            found = self._members_of(picked, wanted)
            if len(found) >= wanted or len(picked) >= len(units) or self._replay.unit == "crop":
                break
            k += max(round((wanted - len(found)) * len(picked) / len(found)), 1)
        return found

    def _members_of(self, units: Indices, wanted: int) -> Indices:
        """Return the crops of units, in their order, ending as near to so many crops as whole units allow."""
        found: list[NDArray[np.intp]] = []
        count = 0
        for unit in units.tolist():
            members = self._members[unit]
            if count and abs(count + len(members) - wanted) > abs(count - wanted):
                break
            found.append(members)
            count += len(members)
            if count >= wanted:
                break
        return np.concatenate(found)


def check_pool(name: str, replay: ReplaySettings, pool: Pool, pretraining: Crops | None = None) -> None:
    """Raise InvalidArgument where a pool cannot bear a replay.

    Because it is smaller than the first two budgets, shows too little to judge or calibrate on, or has frames larger than the
    steps between the budgets: rounds would then have as many labels as the one before, or none left to ask for.
    """
    for number, budget in enumerate(replay.budgets[:2]):
        if len(pool.pool) < budget:
            raise InvalidArgument.of(
                f"replays.{name}.budgets.{number}", budget, f"at most {len(pool.pool)}, the crops of the pool"
            )
    _check_steps(name, replay, pool)
    if len(judged_classes(pool.evaluation.examples, *_taught(pool, pretraining))) < MIN_CLASSES:
        bound = f"at least {MIN_CROPS_OF_CLASS} of each of {MIN_CLASSES} classes that are trained on"
        raise InvalidArgument.of(f"replays.{name}.pool", f"{len(pool.evaluation)} crops of evaluation drives", bound)
    for split, crops in (("control", pool.control), ("evaluation", pool.evaluation)):
        if replay.judge and not (crops.examples.classes != BACKGROUND_INDEX).any():
            bound = f"false: the pool has no crops of objects of {split} drives, which judging needs"
            raise InvalidArgument.of(f"replays.{name}.judge", "true", bound)


def _check_steps(name: str, replay: ReplaySettings, pool: Pool) -> None:
    largest = int(np.bincount(_units(pool.pool.examples, replay)).max())
    asked = budgets(replay, RANDOM, len(pool.pool))
    for before, after in pairwise(asked):
        if after - before < largest:
            bound = f"at least {largest} from each to the next and to the pool's {len(pool.pool)}, as many as a frame has crops"
            raise InvalidArgument.of(f"replays.{name}.budgets", f"{before}, {after}", bound)


def _taught(pool: Pool, pretraining: Crops | None) -> list[Examples]:
    """Return all that an arm may train on."""
    return [pool.pool.examples, *([pretraining.examples] if pretraining else [])]


def budgets(replay: ReplaySettings, method: str, pool: int) -> list[int]:
    """Return the labels at which an arm trains: random sampling goes on to the whole pool, the others stop."""
    last = pool if method == RANDOM else _stop(replay, pool)
    found = [budget for budget in replay.budgets if budget <= last]
    if method == RANDOM and replay.full_pool and (not found or found[-1] < pool):
        found.append(pool)
    return found


def _stop(replay: ReplaySettings, pool: int) -> int:
    """Return the most labels of the methods other than random sampling."""
    return pool if replay.stop_at is None else min(pool, replay.stop_at)


def _units(examples: Examples, replay: ReplaySettings) -> Indices:
    if replay.unit == "crop":
        return np.arange(len(examples))
    _, which = np.unique(np.char.add(np.char.add(examples.drives, "/"), examples.frames), return_inverse=True)
    return np.asarray(which, np.intp)
