"""The members of a generation, fitted in parallel on Ray."""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

import ray
from ray import ObjectRefGenerator

from quandary_server.cluster import give_way
from quandary_server.detector.examples import Examples
from quandary_server.detector.export import export_onnx
from quandary_server.detector.fitting import Progress, fitting
from quandary_server.detector.settings import FitSettings, NetSettings

RETRIES = 2
"""A worker that dies (memory, SIGKILL) is replaced; the seed makes the same member again."""


@dataclass(frozen=True)
class Member:
    """A fitted member: its ONNX bytes, the largest difference between them and torch, its last loss."""

    model: bytes
    parity: float
    loss: float


def fit_members(
    examples: Examples,
    net: NetSettings,
    fit: FitSettings,
    seeds: Sequence[int],
    progress: Callable[[float], None],
) -> list[Member]:
    """Return one member per seed, each fitted by a Ray task on one CPU; progress gets the share done of all steps.

    Raises what a task raised: ValueError for a loss that is not finite, ParityError for an export that differs from torch.
    """
    shared = ray.put(examples)
    board = _Board(len(seeds), fit.steps, progress)
    streams = [_fit_task.remote(shared, net, fit, seed) for seed in seeds]
    try:
        with ThreadPoolExecutor(len(seeds), thread_name_prefix="member") as threads:
            return list(threads.map(board.follow, range(len(seeds)), streams))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None


class _Board:
    """What each member has done so far."""

    def __init__(self, members: int, steps: int, progress: Callable[[float], None]) -> None:
        self._done, self._steps = [0] * members, steps
        self._progress, self._lock = progress, Lock()

    def follow(self, member: int, stream: ObjectRefGenerator) -> Member:
        for reference in stream:
            item = ray.get(reference)
            if isinstance(item, Member):
                return item
            with self._lock:
                self._done[member] = item.step
                self._progress(sum(self._done) / (self._steps * len(self._done)))
        raise RuntimeError("a member's task ended without a member")


@ray.remote(num_cpus=1, max_retries=RETRIES)
def _fit_task(examples: Examples, net: NetSettings, fit: FitSettings, seed: int) -> Generator[Progress | Member, None, None]:
    """Yield progress, and at last the member."""
    loss = float("nan")
    steps = fitting(examples, net, fit, seed)
    # in a thread that gives way: the worker may be used for what does not
    with ThreadPoolExecutor(1, thread_name_prefix="fit", initializer=give_way) as thread:
        while True:
            try:
                report = thread.submit(next, steps).result()
            except StopIteration as end:
                model, parity = thread.submit(export_onnx, end.value).result()
                yield Member(model, parity, loss)
                return
            loss = report.loss
            yield report
