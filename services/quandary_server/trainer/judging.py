"""A candidate before the gates: all verdicts on it, and its figures."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from quandary.options import ScoringOptions
from quandary_server.detector.assessment import Assessment, assessed
from quandary_server.detector.examples import Examples
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.inference.scores import score_many
from quandary_server.registry.manifest import GateRecord
from quandary_server.settings.gates import GateSettings
from quandary_server.storage.snapshots import Snapshot
from quandary_server.trainer.calibration import ControlSplit, split_control
from quandary_server.trainer.candidate import Candidate, judge, seed_rank_correlation
from quandary_server.trainer.cascade import cascade_metrics
from quandary_server.trainer.gates.answers import answers_gate
from quandary_server.trainer.gates.disagreement import disagreement_gate
from quandary_server.trainer.gates.figures import FIGURES
from quandary_server.trainer.gates.latency import latency_gate, measured_costs
from quandary_server.trainer.gates.paired import figure_gate
from quandary_server.trainer.gates.parity import parity_gate
from quandary_server.trainer.gates.verdicts import MIN_CROPS, undetermined
from quandary_server.trainer.labelled import LabelledExamples, examples_of_snapshot

MAX_TRAINING_CROPS = 256
"""Where there are no control crops members are asked whether they disagree about so many training crops."""


@dataclass(frozen=True)
class Judged:
    """A candidate with its verdicts and figures."""

    gates: tuple[GateRecord, ...]
    metrics: dict[str, float]


@dataclass(frozen=True)
class Bench:
    """What candidates are judged on: control crops as they were split, training crops, how to score, and the bounds.

    at_side: the gates' control crops rasterised for nets of another side, for a current generation that has one.
    """

    split: ControlSplit
    training: Examples
    options: ScoringOptions
    settings: GateSettings
    at_side: Callable[[int], Examples]

    def judged(self, candidate: Candidate, current: LoadedGeneration | None) -> Judged:
        """Return all verdicts on a calibrated candidate, held against the current generation if there is one."""
        loaded, crops = candidate.load(), self._any_crops()
        scores = score_many(loaded, crops.rasters, self.options)
        # what is not sound has no figures
        mine = assessed(scores, crops) if len(self.split.gates) and scores.usable.all() else None
        verdicts = (
            parity_gate([member.parity for member in candidate.members]),
            answers_gate(scores.usable),
            disagreement_gate(loaded, crops, self.settings.disagreement_floor),
            *self._figures(mine, current),
            self._latency(loaded, current),
        )
        return Judged(verdicts, self._metrics(candidate, loaded, mine))

    def _figures(self, mine: Assessment | None, current: LoadedGeneration | None) -> list[GateRecord]:
        if mine is None:
            few = f"no labelled crops of control drives, at least {MIN_CROPS} are needed to tell"
            why = "not all crops are answered soundly" if len(self.split.gates) else few
            return [undetermined(figure.gate, why) for figure in FIGURES]
        crops, theirs = self.split.gates, None
        if current is not None:
            side = current.manifest.net.side
            seen = crops if side == crops.maps.shape[-1] else self.at_side(side)
            theirs = judge(current, seen, self.options)
        return [figure_gate(figure, mine, theirs, crops.drives, crops.frames, self.settings) for figure in FIGURES]

    def _latency(self, candidate: LoadedGeneration, current: LoadedGeneration | None) -> GateRecord:
        costs = None if current is None else measured_costs(candidate, current, self.options)
        members = (candidate.members, 0 if current is None else current.members)
        return latency_gate(costs, self.settings.latency_ratio, members)

    def _metrics(self, candidate: Candidate, loaded: LoadedGeneration, mine: Assessment | None) -> dict[str, float]:
        crops, metrics = self.split.gates, {} if mine is None else mine.figures()
        if mine is not None:
            correlation = seed_rank_correlation(loaded, crops, self.options, mine.scores.score)
            metrics |= {} if correlation is None else {"seed_rank_correlation": correlation}
        metrics |= cascade_metrics(loaded, crops, self.options)
        metrics["temperature"] = candidate.draft.temperature
        metrics["calibration_crops"] = float(len(self.split.calibration))
        metrics["training_loss"] = float(np.mean([member.loss for member in candidate.members]))
        return metrics

    def _any_crops(self) -> Examples:
        if len(self.split.gates):
            return self.split.gates
        return self.training.take(np.arange(min(len(self.training), MAX_TRAINING_CROPS)))


def bench_of(snapshot: Snapshot, labelled: LabelledExamples, options: ScoringOptions, settings: GateSettings) -> Bench:
    """Return what a candidate of this snapshot is judged on."""

    def at_side(side: int) -> Examples:
        control = [frame for frame in snapshot.frames if frame.control]
        return split_control(examples_of_snapshot(control, side).control).gates

    return Bench(split_control(labelled.control), labelled.training, options, settings, at_side)
