"""How far the members' fit is, as the run tells it."""

from quandary_server.trainer.members import FitProgress
from quandary_server.trainer.run_record import RunRecord

TOLD = 4
"""Lines on the way: one for each quarter."""


class FitReport:
    """Told the progress of a fit; writes the share to the run, and a line to its log at the start and at each quarter."""

    def __init__(self, record: RunRecord, members: int, steps: int) -> None:
        self._record = record
        self._quarters = -1
        self._what = f"{members} members of {steps} steps each"

    def __call__(self, progress: FitProgress) -> None:
        """Take note. Raises as `RunRecord.update` does."""
        self._record.update(stage_progress=min(progress.share, 1.0))
        quarters = int(progress.share * TOLD)
        if quarters > self._quarters:
            self._quarters = quarters
            done = f"training {self._what}: {progress.share:.0%} done, {progress.finished} members finished"
            self._record.say(f"{done}, mean loss {progress.loss:.3f}" if progress.share else done)
