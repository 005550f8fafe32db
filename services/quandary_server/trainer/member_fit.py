"""A slice of a member's fit: some steps on, and what the next slice goes on from."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from quandary_server.detector.examples import Examples
from quandary_server.detector.export import export_onnx
from quandary_server.detector.fit_state import FitState
from quandary_server.detector.fitting import Fit
from quandary_server.detector.settings import FitSettings, NetSettings
from quandary_server.trainer.checkpoints import Checkpoint

SLICES = 8
"""A member's fit is cut into at least so many: members that are more than the cores take turns, and end together."""


@dataclass(frozen=True)
class MemberTask:
    """What a member is fitted with."""

    net: NetSettings
    fit: FitSettings
    seed: int
    checkpoint_every: timedelta


def fit_slice(
    examples: Examples, task: MemberTask, before: Checkpoint | None, clock: Callable[[], float] = time.monotonic
) -> Checkpoint:
    """Go on with a member's fit from a checkpoint, or begin it; return the next checkpoint, finished where it is the last.

    The member is the same whatever the slices were. Raises ValueError as `Fit` does, ParityError.
    """
    going = Fit(examples, task.net, task.fit, task.seed)
    if before is not None:
        going.restore(FitState.from_bytes(before.body))
    last_step = going.step + -(-task.fit.steps // SLICES)
    deadline = clock() + task.checkpoint_every.total_seconds()
    loss = before.loss if before is not None else float("nan")
    while not going.done:
        loss = going.advance().loss
        if not going.done and (going.step >= last_step or clock() >= deadline):
            return Checkpoint(going.step, loss, going.state().to_bytes())
    model, parity = export_onnx(going.net)
    return Checkpoint(going.step, loss, model, finished=True, parity=parity)
