"""Running an experiment on Ray: every arm a task, every round on disk, so that a run that was stopped goes on."""

import time
from collections.abc import Generator, Mapping, Sequence
from functools import partial
from typing import Any

import ray
from ray import ObjectRefGenerator

from quandary.options import Estimator
from quandary_server.experiment.folder import ArmPlan, ExperimentFolder, HeldOutPlan, arm_plans, held_out_plans
from quandary_server.experiment.judging.held_out import check_held_out, judged_held_out
from quandary_server.experiment.methods import METHODS, RANDOM
from quandary_server.experiment.pools.build import Told, built_pool, pool_file
from quandary_server.experiment.pools.crops import Pool, pool_digest
from quandary_server.experiment.replay.arm import Arm, budgets, check_pool
from quandary_server.experiment.replay.figures import told_classes
from quandary_server.experiment.replay.rounds import ArmRecord, JudgedClasses
from quandary_server.experiment.settings import ExperimentSettings, HeldOutSettings, PoolSettings, ReplaySettings
from quandary_server.experiment.window import Job, Progress, cluster_width, run_in_order

RETRIES = 2
"""A worker that dies is replaced: the task begins again, and Ray passes over what it had yielded already."""

Pools = Mapping[PoolSettings, Pool]
Shared = Mapping[PoolSettings, Any]
"""References to pools in Ray's object store."""


class Experiment:
    """An experiment and the folder where its pools, arms and results lie, which it claims.

    any_code: go on in a folder that other code began. Raises InvalidArgument where the folder holds another experiment, and
    FailedPrecondition where one is running there.
    """

    def __init__(self, settings: ExperimentSettings, folder: ExperimentFolder, *, any_code: bool = False) -> None:
        self._settings, self._folder, self._any_code = settings, folder, any_code
        with folder.alone():
            self._claim()

    def _claim(self) -> None:
        self._folder.claim(self._settings, any_code=self._any_code)

    def run(self, told: Told, progress: Progress) -> None:
        """Run what is not there yet, on a Ray that was joined: replays in their order, each seed by seed, then the trainings
        without a class.

        Raises InvalidArgument where the folder holds other crops or a pool cannot bear what is asked of it,
        FailedPrecondition where an experiment is running there, and what an arm raises; the others are cancelled then. What is
        finished stays.
        """
        with self._folder.alone():
            self._claim()
            self._run(told, progress)

    def _run(self, told: Told, progress: Progress) -> None:
        clock = _Clock(self._folder)
        try:
            pools = self._pools(told)
            self._check(pools)
            self._folder.claim_crops(self._crops(pools))
            self._folder.write_judged_classes(self._judged_classes(pools))

            shared = {settings: ray.put(pool) for settings, pool in pools.items()}
            board = _Board(clock, self._rounds(pools), progress)
            jobs = [*self._arm_jobs(shared, board), *self._held_out_jobs(shared, board)]
            run_in_order(jobs, cluster_width())
        finally:
            clock.keep()

    @property
    def _uses(self) -> dict[str, PoolSettings]:
        """What pools are for: the replays, their pretraining, and the trainings without a class."""
        found = {}
        for name, replay in self._settings.replays.items():
            found[f"replays.{name}"] = replay.pool
            if replay.pretraining:
                found[f"replays.{name}.pretraining"] = replay.pretraining
        if self._settings.held_out:
            found["held_out"] = self._settings.held_out.pool
        return found

    def _pools(self, told: Told) -> dict[PoolSettings, Pool]:
        side, seed, folder = self._settings.net.side, self._settings.seed, self._folder.pools
        wanted = list(dict.fromkeys(self._uses.values()))
        # a folder that is missing is told before any pool is built
        for settings in wanted:
            pool_file(settings, side, seed, folder)
        return {settings: built_pool(settings, side, seed, folder, told) for settings in wanted}

    def _check(self, pools: Pools) -> None:
        for name, replay in self._settings.replays.items():
            check_pool(name, replay, pools[replay.pool], pools[replay.pretraining].pool if replay.pretraining else None)
        if self._settings.held_out:
            check_held_out(self._settings.held_out.classes, pools[self._settings.held_out.pool])

    def _crops(self, pools: Pools) -> dict[str, str]:
        digests = {settings: pool_digest(pool) for settings, pool in pools.items()}
        return {use: digests[settings] for use, settings in self._uses.items()}

    def _judged_classes(self, pools: Pools) -> dict[str, JudgedClasses]:
        found = {}
        for name, replay in self._settings.replays.items():
            taught = [pools[settings].pool.examples for settings in (replay.pool, replay.pretraining) if settings]
            found[name] = told_classes(pools[replay.pool].evaluation.examples, *taught)
        return found

    def _rounds(self, pools: Pools) -> int:
        """How many rounds there are; a training without a class counts as one."""
        replays = self._settings.replays
        found = [
            len(budgets(replays[plan.replay], plan.method, len(pools[replays[plan.replay].pool].pool)))
            for plan in arm_plans(self._settings)
        ]
        return sum(found) + len(held_out_plans(self._settings))

    def _arm_jobs(self, shared: Shared, board: "_Board") -> list[Job]:
        """Return what is missing of the arms."""
        found = []
        for plan in arm_plans(self._settings):
            before = self._folder.arm(plan)
            if before is not None:
                board.advance(len(before.rounds), f"{plan}: was there")
            if before is None or not before.complete:
                found.append(Job(partial(self._start_arm, plan, before, shared), partial(self._keep_arm, plan, board)))
        return found

    def _start_arm(self, plan: ArmPlan, before: ArmRecord | None, shared: Shared) -> ObjectRefGenerator:
        replay = self._settings.replays[plan.replay]
        pretraining = shared[replay.pretraining] if replay.pretraining else None
        stream: ObjectRefGenerator = _arm_task.remote(self._settings, plan, shared[replay.pool], pretraining, before)
        return stream

    def _keep_arm(self, plan: ArmPlan, board: "_Board", record: ArmRecord) -> None:
        self._folder.write_arm(plan, record)
        board.advance(1, f"{plan}, {record.rounds[-1].labels} labels")

    def _held_out_jobs(self, shared: Shared, board: "_Board") -> list[Job]:
        """Return the trainings without a class that are missing."""
        asked = self._settings.held_out
        if asked is None:
            return []
        missing = self._folder.missing_held_out()
        if there := len(held_out_plans(self._settings)) - len(missing):
            board.advance(there, "trainings without a class: were there")
        return [
            Job(partial(self._start_held_out, plan, asked, shared), partial(self._keep_held_out, plan, board))
            for plan in missing
        ]

    def _start_held_out(self, plan: HeldOutPlan, asked: HeldOutSettings, shared: Shared) -> ObjectRefGenerator:
        stream: ObjectRefGenerator = _held_out_task.remote(self._settings, shared[asked.pool], plan.class_name, plan.seed)
        return stream

    def _keep_held_out(self, plan: HeldOutPlan, board: "_Board", found: Mapping[str, Any]) -> None:
        self._folder.write_held_out(plan, found)
        board.advance(1, str(plan))


class _Clock:
    """The time that is spent on the experiment, on top of that of runs before."""

    def __init__(self, folder: ExperimentFolder) -> None:
        self._folder = folder
        self._before, self._started = folder.seconds(), time.monotonic()

    def keep(self) -> None:
        self._folder.write_seconds(self._before + time.monotonic() - self._started)


class _Board:
    """How far the experiment is."""

    def __init__(self, clock: _Clock, total: int, progress: Progress) -> None:
        self._clock, self._total, self._progress = clock, total, progress
        self._done = 0

    def advance(self, rounds: int, what: str) -> None:
        self._done += rounds
        self._clock.keep()
        self._progress(self._done, self._total, what)


def estimators_of(replay: ReplaySettings, method: str) -> list[Estimator]:
    """Return what an arm is judged with: its own estimator; random sampling with those of all methods of its replay."""
    if method != RANDOM:
        return [METHODS[method].estimator]
    return list(dict.fromkeys(METHODS[name].estimator for name in replay.methods))


@ray.remote(num_cpus=1, max_retries=RETRIES)
def _arm_task(
    settings: ExperimentSettings, plan: ArmPlan, pool: Pool, pretraining: Pool | None, before: ArmRecord | None
) -> Generator[ArmRecord, None, None]:
    """Yield the arm's record after every round."""
    estimators: Sequence[Estimator] = estimators_of(settings.replays[plan.replay], plan.method)
    extra = pretraining.pool if pretraining else None
    yield from Arm(settings, plan.replay, pool, plan.method, plan.seed, estimators, extra).run(before)


@ray.remote(num_cpus=1, max_retries=RETRIES)
def _held_out_task(
    settings: ExperimentSettings, pool: Pool, class_name: str, seed: int
) -> Generator[Mapping[str, Any], None, None]:
    """Yield what came of one training without a class."""
    yield judged_held_out(settings, pool, class_name, seed)
