"""How far the members' fit is, as the run tells it."""

import time
from collections.abc import Callable

from quandary_server.trainer.members import FitProgress
from quandary_server.trainer.run_record import RunRecord

TOLD = 4
"""Lines on the way: one for each quarter."""

STARVES_AFTER_S = 60.0
"""Without a single slice: one takes 2 s, and a worker some more to load torch."""


class FitReport:
    """Told the progress of a fit; writes the share to the run, and a line to its log at the start and at each quarter.

    Ray lets tasks wait for a CPU for ever, and says nothing: where none begins in a minute the run does.
    """

    def __init__(self, record: RunRecord, members: int, steps: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._record, self._monotonic = record, monotonic
        self._quarters = -1
        self._what = f"{members} members of {steps} steps each"
        self._starves_at: float | None = monotonic() + STARVES_AFTER_S

    def __call__(self, progress: FitProgress) -> None:
        """Take note. Raises as `RunRecord.update` does."""
        self._record.update(stage_progress=min(progress.share, 1.0))
        quarters = int(progress.share * TOLD)
        if quarters > self._quarters:
            self._quarters = quarters
            done = f"training {self._what}: {progress.share:.0%} done, {progress.finished} members finished"
            self._record.say(f"{done}, mean loss {progress.loss:.3f}" if progress.share else done)
        if progress.share:
            self._starves_at = None
        elif self._starves_at is not None and self._monotonic() >= self._starves_at:
            self._starves_at = None
            self._record.say("no member has begun for a minute: Ray has no CPU to spare; replicas may reserve all of them")
