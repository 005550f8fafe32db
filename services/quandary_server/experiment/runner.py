"""Running an experiment on Ray: every arm a task, every round on disk, so that a run that was stopped goes on."""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from threading import Lock
from typing import Any

import ray
from ray import ObjectRefGenerator

from quandary.options import Estimator
from quandary_server.experiment.folder import ArmPlan, ExperimentFolder, HeldOutPlan
from quandary_server.experiment.judging.held_out import judged_held_out
from quandary_server.experiment.methods import METHODS, RANDOM
from quandary_server.experiment.pools.build import Told, built_pool
from quandary_server.experiment.pools.crops import Pool
from quandary_server.experiment.replay.arm import Arm, budgets
from quandary_server.experiment.replay.rounds import ArmRecord
from quandary_server.experiment.settings import ExperimentSettings, PoolSettings, ReplaySettings

Progress = Callable[[int, int, str], None]
"""Told how many rounds are done, how many there are, and which was the last."""

RETRIES = 2
"""A worker that dies is replaced."""


class Experiment:
    """An experiment and the folder where its pools, arms and results lie. A Ray must have been joined."""

    def __init__(self, settings: ExperimentSettings, folder: ExperimentFolder) -> None:
        self._settings, self._folder = settings, folder

    def run(self, told: Told, progress: Progress) -> None:
        """Run what is not there yet: replays in their order, each seed by seed, then the trainings without a class.

        Raises InvalidArgument where the folder holds another experiment, and what an arm raises.
        """
        self._folder.claim(self._settings)
        pools = self._pools(told)
        shared = {settings: ray.put(pool) for settings, pool in pools.items()}
        arms, held_out = self.arms(), self.held_out()
        total = sum(len(self._budgets(plan, pools)) for plan in arms) + len(held_out)
        board = _Board(self._folder, total, progress)

        # Ray begins its tasks in the order in which they are submitted
        followers = [partial(self._follow_arm, plan, self._started(plan, shared, board), board) for plan in arms]
        followers += [partial(self._follow_held_out, plan, self._trained_without(plan, shared), board) for plan in held_out]
        with ThreadPoolExecutor(len(followers), thread_name_prefix="arm") as threads:
            for following in as_completed([threads.submit(follower) for follower in followers]):
                following.result()

    def arms(self) -> list[ArmPlan]:
        """Return all arms in the order in which they are run."""
        return [
            ArmPlan(name, method, seed)
            for name, replay in self._settings.replays.items()
            for seed in range(max(replay.methods.values()))
            for method, seeds in replay.methods.items()
            if seed < seeds
        ]

    def held_out(self) -> list[HeldOutPlan]:
        """Return all trainings without a class."""
        settings = self._settings.held_out
        return [] if settings is None else [HeldOutPlan(c, s) for s in range(settings.seeds) for c in settings.classes]

    def _pools(self, told: Told) -> dict[PoolSettings, Pool]:
        wanted = [pool for replay in self._settings.replays.values() for pool in (replay.pool, replay.pretraining) if pool]
        if self._settings.held_out:
            wanted.append(self._settings.held_out.pool)
        side, seed, folder = self._settings.net.side, self._settings.seed, self._folder.pools
        return {settings: built_pool(settings, side, seed, folder, told) for settings in dict.fromkeys(wanted)}

    def _budgets(self, plan: ArmPlan, pools: Mapping[PoolSettings, Pool]) -> list[int]:
        replay = self._settings.replays[plan.replay]
        return budgets(replay, plan.method, len(pools[replay.pool].pool))

    def _started(self, plan: ArmPlan, shared: Mapping[PoolSettings, Any], board: "_Board") -> ObjectRefGenerator | None:
        """Start what is missing of an arm; None where nothing is."""
        before = self._folder.arm(plan)
        if before is not None:
            board.advance(len(before.rounds), f"{plan}: was there")
            if before.complete:
                return None
        replay = self._settings.replays[plan.replay]
        pretraining = shared[replay.pretraining] if replay.pretraining else None
        stream: ObjectRefGenerator = _arm_task.remote(self._settings, plan, shared[replay.pool], pretraining, before)
        return stream

    def _follow_arm(self, plan: ArmPlan, stream: ObjectRefGenerator | None, board: "_Board") -> None:
        for reference in stream or ():
            record: ArmRecord = _got(reference)
            self._folder.write_arm(plan, record)
            board.advance(1, f"{plan}, {record.rounds[-1].labels} labels")

    def _trained_without(self, plan: HeldOutPlan, shared: Mapping[PoolSettings, Any]) -> Any:
        """Start a training without a class; None where it was done."""
        settings = self._settings.held_out
        if settings is None or self._folder.held_out(plan) is not None:
            return None
        return _held_out_task.remote(self._settings, shared[settings.pool], plan.class_name, plan.seed)

    def _follow_held_out(self, plan: HeldOutPlan, reference: Any, board: "_Board") -> None:
        if reference is not None:
            self._folder.write_held_out(plan, _got(reference))
        board.advance(1, str(plan))


class _Board:
    """How far the experiment is, and the time that was spent on it."""

    def __init__(self, folder: ExperimentFolder, total: int, progress: Progress) -> None:
        self._folder, self._total, self._progress = folder, total, progress
        self._done, self._lock = 0, Lock()
        self._before, self._started = folder.seconds(), time.monotonic()

    def advance(self, rounds: int, what: str) -> None:
        with self._lock:
            self._done += rounds
            self._folder.write_seconds(self._before + time.monotonic() - self._started)
            self._progress(self._done, self._total, what)


def estimators_of(replay: ReplaySettings, method: str) -> list[Estimator]:
    """Return what an arm is judged with: its own estimator; random sampling with those of all methods of its replay."""
    if method != RANDOM:
        return [METHODS[method].estimator]
    return list(dict.fromkeys(METHODS[name].estimator for name in replay.methods))


def _got(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None


@ray.remote(num_cpus=1, max_retries=RETRIES)
def _arm_task(
    settings: ExperimentSettings, plan: ArmPlan, pool: Pool, pretraining: Pool | None, before: ArmRecord | None
) -> Generator[ArmRecord, None, None]:
    """Yield the arm's record after every round."""
    estimators: Sequence[Estimator] = estimators_of(settings.replays[plan.replay], plan.method)
    extra = pretraining.pool if pretraining else None
    yield from Arm(settings, plan.replay, pool, plan.method, plan.seed, estimators, extra).run(before)


@ray.remote(num_cpus=1, max_retries=RETRIES)
def _held_out_task(settings: ExperimentSettings, pool: Pool, class_name: str, seed: int) -> dict[str, Any]:
    return judged_held_out(settings, pool, class_name, seed)
