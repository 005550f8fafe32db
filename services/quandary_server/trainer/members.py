"""The members of a generation, fitted in parallel on Ray."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

import ray

from quandary.errors import Unavailable
from quandary_server.cluster import give_way
from quandary_server.detector.examples import Examples
from quandary_server.detector.settings import FitSettings, NetSettings
from quandary_server.trainer.checkpoints import Checkpoint, Checkpoints, examples_digest, fit_digest
from quandary_server.trainer.member_fit import MemberTask, fit_slice

RETRIES = 2
"""A worker that dies (memory, SIGKILL) is replaced: Ray gives the slice that it had to another, with the same checkpoint."""

CHECKPOINT_EVERY = timedelta(seconds=2)
LOOK_EVERY_S = 0.5


@dataclass(frozen=True)
class Member:
    """A fitted member: its ONNX bytes, the largest difference between them and torch, its last loss."""

    model: bytes
    parity: float
    loss: float


@dataclass(frozen=True)
class FitProgress:
    """Share done of all members' steps, the mean of their last losses (NaN before the first), and how many are finished."""

    share: float
    loss: float
    finished: int


def fit_members(
    examples: Examples,
    net: NetSettings,
    fit: FitSettings,
    seeds: Sequence[int],
    progress: Callable[[FitProgress], None],
    checkpoints: Checkpoints | None = None,
    checkpoint_every: timedelta = CHECKPOINT_EVERY,
) -> list[Member]:
    """Return one member per seed, fitted by Ray tasks of one CPU each, slice by slice and in turns.

    checkpoints: where the slices' ends are kept, and gone on from. progress is called twice a second or more often; what it
    raises ends all tasks. Raises what a task raised: ValueError for a loss that is not finite, ParityError for an export that
    differs from torch. Raises Unavailable where workers die again and again.
    """
    tasks = [MemberTask(net, fit, seed, checkpoint_every) for seed in seeds]
    of_examples = examples_digest(examples)
    fits = _Fits(ray.put(examples), tasks, checkpoints, [fit_digest(of_examples, net, fit, seed) for seed in seeds])
    try:
        fits.start()
        while fits.going:
            fits.wait()
            progress(fits.progress())
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        last = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        raise Unavailable(f"a member's worker died {RETRIES + 1} times in one slice, the last time by {last}") from error
    finally:
        fits.stop()
    return [Member(done.body, done.parity, done.loss) for done in fits.last if done is not None]


def prepare_workers(members: int) -> None:
    """Have Ray start workers for as many members as there are CPUs for, while the caller does something else.

    What takes a worker seconds is to load torch. Raises Unavailable where there is no CPU, or no Ray any more.
    """
    try:
        cpus = int(ray.cluster_resources().get("CPU", 0))  # type: ignore[no-untyped-call]
    except ray.exceptions.RayError as error:
        raise Unavailable(f"Ray does not answer: {type(error).__name__}") from error
    if not cpus:
        raise Unavailable("the Ray cluster has no CPU, and each member is fitted on one")
    for _ in range(min(members, cpus)):
        _load.remote()


class _Fits:
    """What each member has come to, and the slices that are going on."""

    def __init__(
        self,
        examples: "ray.ObjectRef[Examples]",
        tasks: Sequence[MemberTask],
        checkpoints: Checkpoints | None,
        digests: Sequence[str],
    ) -> None:
        self._examples, self._tasks = examples, tasks
        self._checkpoints, self._digests = checkpoints, digests
        self.last: list[Checkpoint | None] = [None] * len(tasks)
        self.going: dict[ray.ObjectRef[Checkpoint], int] = {}

    def start(self) -> None:
        for member, digest in enumerate(self._digests):
            if self._checkpoints is not None:
                self.last[member] = self._checkpoints.newest(member, digest)
            self._go_on(member)

    def wait(self) -> None:
        """Take in the slices that end within half a second."""
        ended, _ = ray.wait(list(self.going), timeout=LOOK_EVERY_S)
        for slice_ in ended:
            member = self.going.pop(slice_)
            reached = self.last[member] = ray.get(slice_)
            # behind those that wait already: the members take turns
            self._go_on(member)
            if self._checkpoints is not None:
                self._checkpoints.write(member, self._digests[member], reached)

    def progress(self) -> FitProgress:
        begun = [last for last in self.last if last is not None]
        steps = sum(last.step for last in begun)
        loss = sum(last.loss for last in begun) / len(begun) if begun else float("nan")
        of = sum(task.fit.steps for task in self._tasks)
        return FitProgress(steps / of, loss, sum(last.finished for last in begun))

    def stop(self) -> None:
        for slice_ in self.going:
            # those under way come to their end, a few seconds at most: the worker, with torch loaded, is worth more
            ray.cancel(slice_)

    def _go_on(self, member: int) -> None:
        last = self.last[member]
        if last is None or not last.finished:
            self.going[_fit_task.remote(self._examples, self._tasks[member], last)] = member


@ray.remote(num_cpus=1)
def _load() -> None:
    """Load what this module imports, which the worker does to know this function."""


@ray.remote(num_cpus=1, max_retries=RETRIES)
def _fit_task(examples: Examples, task: MemberTask, before: Checkpoint | None) -> Checkpoint:
    # in a thread that gives way: the worker may be used for what does not
    with ThreadPoolExecutor(1, thread_name_prefix="fit", initializer=give_way) as thread:
        return thread.submit(fit_slice, examples, task, before).result()
