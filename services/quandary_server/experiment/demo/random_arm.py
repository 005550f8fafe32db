"""The random-sampling arm: the same recipe on as many labels, chosen by chance."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from quandary.options import ScoringOptions
from quandary.records import FrameRecord
from quandary_server.detector.examples import Examples
from quandary_server.detector.settings import FitSettings, NetSettings
from quandary_server.experiment.demo.frames import Frames
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.trainer.calibration import ControlSplit, calibrated
from quandary_server.trainer.candidate import draft_candidate
from quandary_server.trainer.members import fit_members


class RandomArm:
    """Draws frames by chance from what is left of the pool; trains and calibrates as the trainer does."""

    def __init__(
        self,
        frames: Frames,
        first: Sequence[str],
        net: NetSettings,
        fit: FitSettings,
        seed: int,
        control: ControlSplit,
        options: ScoringOptions,
    ) -> None:
        self._frames, self._net, self._fit = frames, net, fit
        self._control, self._options = control, options
        pool = {record.frame_id: record for record in frames.records["pool"]}
        self._labelled = [pool.pop(frame_id) for frame_id in first]
        # a frame without proposals has nothing to label
        left = [record for record in pool.values() if record.proposals]
        self._left = [left[i] for i in np.random.default_rng([seed, 1]).permutation(len(left))]

    @property
    def crops(self) -> int:
        """Labelled crops so far."""
        return sum(len(record.proposals) for record in self._labelled)

    def label_up_to(self, crops: int) -> Examples:
        """Label frames until another would lead away from so many crops; return the new examples.

        It ends as often below as above, so that neither arm has more labels than the other as a rule.
        """
        new: list[FrameRecord] = []
        while self._left and abs(self.crops + len(self._left[-1].proposals) - crops) < abs(self.crops - crops):
            record = self._left.pop()
            new.append(record)
            self._labelled.append(record)
        return self._frames.examples(new, self._net.side)

    def train(self, members: int, seed: int, now: datetime) -> LoadedGeneration:
        """Return a generation trained on all that is labelled, from the seeds that the trainer would use."""
        examples = self._frames.examples(self._labelled, self._net.side)
        seeds = np.random.SeedSequence(seed).generate_state(members + 1).tolist()
        fitted = fit_members(examples, self._net, self._fit, seeds[1:], lambda _: None)
        candidate = draft_candidate(
            fitted, self._net, examples, seed=seeds[0], now=now, parent="", run="", snapshot_digest="", settings={}
        )
        return calibrated(candidate, self._control, self._options).load()
