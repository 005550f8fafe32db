"""One training run: snapshot, train, judge, register, promote."""

import logging
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Self

import numpy as np

from quandary.errors import (
    CorruptArtefact,
    GateRefused,
    InvalidArgument,
    NotFound,
    PointerMoved,
    QuandaryError,
    TooLittleData,
    Violation,
)
from quandary.labels import CLASSES
from quandary.options import ScoringOptions
from quandary_server.detector.assessment import Assessment
from quandary_server.detector.examples import Examples
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.inference.provider import Provider
from quandary_server.registry.directory import Registry
from quandary_server.registry.manifest import GateRecord, Manifest
from quandary_server.registry.pointer import Pointer
from quandary_server.settings import Settings
from quandary_server.storage.run_values import Run, RunStage, RunState, RunTaken
from quandary_server.storage.snapshots import Snapshot, read_snapshot, write_snapshot
from quandary_server.storage.store import Store
from quandary_server.trainer import gates
from quandary_server.trainer.candidate import Candidate, draft_candidate, judge, registered_before, seed_rank_correlation
from quandary_server.trainer.cascade import cascade_metrics, with_thresholds
from quandary_server.trainer.checkpoints import Checkpoints
from quandary_server.trainer.fit_report import FitReport
from quandary_server.trainer.labelled import LabelledExamples, examples_of_snapshot
from quandary_server.trainer.members import fit_members, prepare_workers
from quandary_server.trainer.promotion import promote, wait_for_replicas
from quandary_server.trainer.run_record import RunRecord, TrainerStops

log = logging.getLogger(__name__)

JUDGED_AGAINST = "judged_against"
"""Of a run's settings: revision of the pointer whose generation the candidate was held against, 0 for none."""


@dataclass(frozen=True)
class RunPlan:
    """What was asked of a run."""

    members: int
    steps: int
    seed: int
    promote: bool

    def to_settings(self) -> dict[str, Any]:
        """Return it as a run keeps it."""
        return asdict(self)

    @classmethod
    def of_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Return the plan that a run keeps; raises InvalidArgument for one that was made by another program."""
        missing = [name for name in cls.__dataclass_fields__ if name not in settings]
        if missing:
            raise InvalidArgument.of("settings", f"without {missing[0]}", "the plan of a run of this program")
        return cls(**{name: settings[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Judged:
    """A candidate with its verdicts and figures."""

    gates: tuple[GateRecord, ...]
    metrics: dict[str, float]


class TrainingRun:
    """Carries one run through its stages; the store knows how far it is at any time.

    Every stage may be done again: what an attempt before left is taken where it is whole. before: the stage that the attempt
    before broke in, None for the first.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        settings: Settings,
        run: Run,
        clock: Callable[[], datetime],
        before: RunStage | None = None,
    ) -> None:
        self._store, self._registry, self._settings = store, registry, settings
        self._before, self._clock = before, clock
        self._options = ScoringOptions(mc_samples=settings.selector.mc_samples)
        self._record = RunRecord(store, run, clock)
        self._update, self._stage, self._say = self._record.update, self._record.stage, self._record.say

    @cached_property
    def _plan(self) -> RunPlan:
        return RunPlan.of_settings(self.run.settings)

    @property
    def run(self) -> Run:
        """The run as it was last written."""
        return self._record.run

    def stop(self) -> None:
        """Have it let go of the run soon, for the next trainer to go on with."""
        self._record.stop()

    def execute(self) -> Run:
        """Carry the run to its end, whatever that is, and return it; it still runs where another trainer has it, or is to."""
        ended = self._execute()
        if ended.state is not RunState.RUNNING:
            Checkpoints(self._settings.checkpoints / self.run.id).remove()
        return ended

    def _execute(self) -> Run:
        try:
            with self._record.heartbeat(self._settings.trainer.lost_after):
                return self._ended()
        except RunTaken as taken:
            log.warning("run_taken run=%s problem=%s", self.run.id, taken)
        except TrainerStops:
            self._store.runs.release(self.run.id, holder=self.run.holder, now=self._clock())
            self._say("the trainer stops; the next one goes on from here")
        return self._store.runs.get(self.run.id)

    def _ended(self) -> Run:
        finish = self._record.finish
        try:
            self._carry()
        except (RunTaken, TrainerStops):
            raise
        except GateRefused as error:
            return finish(RunState.REFUSED, str(error))
        except QuandaryError as error:
            return finish(RunState.FAILED, str(error))
        except Exception as error:
            incident = secrets.token_hex(4)
            log.exception("run_failed run=%s incident=%s", self.run.id, incident)
            what = str(error) if isinstance(error, ValueError) else type(error).__name__
            return finish(RunState.FAILED, f"{what} (the trainer's log has it as incident {incident})")
        return finish(RunState.SUCCEEDED)

    def _carry(self) -> None:
        plan = self._plan
        if self._before is not None:
            of = f" (resumption {self.run.resumptions} of {self._settings.trainer.resumptions})" if self.run.resumptions else ""
            self._say(f"resumed in stage {self._before.value}{of}")
        if self.run.generation:
            manifest = self._registry.verified(self.run.generation)
        else:
            prepare_workers(plan.members)
            snapshot, labelled = self._take_snapshot()
            self._check_enough(labelled)
            candidate = self._train(snapshot, labelled)
            judged = self._judge(candidate, labelled.control)
            manifest = self._register(candidate, judged)

        refused = [gate for gate in manifest.gates if gate.verdict == "refused"]
        if refused:
            raise GateRefused("; ".join(f"{gate.gate}: {gate.reason}" for gate in refused))
        if plan.promote:
            self._promote(manifest)

    def _take_snapshot(self) -> tuple[Snapshot, LabelledExamples]:
        with self._stage(RunStage.SNAPSHOT):
            snapshot = self._snapshot()
            labelled = examples_of_snapshot(snapshot.frames, self._settings.trainer.net.side)
            training, control = labelled.training, labelled.control
            self._update(
                label_sequence=max((frame.sequence for frame in snapshot.frames), default=0),
                training_frames=len(set(training.frames.tolist())),
                training_crops=len(training),
                control_crops=len(control),
            )
            classes = Counter(CLASSES[found] for found in training.classes.tolist())
            counted = ", ".join(f"{count} {name}" for name, count in classes.most_common())
            self._say(f"snapshot: {len(training)} crops to train on ({counted or 'none'}), {len(control)} of control drives")
            if labelled.unreadable:
                first = labelled.unreadable[0]
                self._say(f"left out: {len(labelled.unreadable)} frames whose clouds cannot be read, {first} first")
            return snapshot, labelled

    def _snapshot(self) -> Snapshot:
        """Take the labels there are now, or those that the attempt before took, where the file is whole."""
        path = self._settings.snapshots / f"{self.run.id}.parquet"
        if self._before is not None:
            try:
                return read_snapshot(path)
            except (NotFound, CorruptArtefact) as error:
                self._say(f"the labels are taken anew: {error}")
        path.parent.mkdir(parents=True, exist_ok=True)
        return write_snapshot(path, self._store.labels.all())

    def _check_enough(self, labelled: LabelledExamples) -> None:
        least, classes = self._settings.trainer.min_crops, len(np.unique(labelled.training.classes))
        missing = []
        if len(labelled.training) < least:
            missing.append(Violation("training_crops", str(len(labelled.training)), f"at least {least}"))
        if classes < 2:
            missing.append(Violation("training_classes", str(classes), "at least 2"))
        if missing:
            raise TooLittleData(f"too few labels to train on: {'; '.join(map(str, missing))}", violations=missing)

    def _train(self, snapshot: Snapshot, labelled: LabelledExamples) -> Candidate:
        trainer, examples = self._settings.trainer, labelled.training
        fit = trainer.fit.model_copy(update={"steps": self._plan.steps})
        seeds = np.random.SeedSequence(self._plan.seed).generate_state(self._plan.members + 1).tolist()
        with self._stage(RunStage.TRAINING):
            if self._before is None:
                # one run goes on at a time: what lies there is of runs whose trainers died as they ended
                shutil.rmtree(self._settings.checkpoints, ignore_errors=True)
            checkpoints = Checkpoints(self._settings.checkpoints / self.run.id)
            report = FitReport(self._record, len(seeds) - 1, fit.steps)
            members = fit_members(examples, trainer.net, fit, seeds[1:], report, checkpoints, trainer.checkpoint_every)
        with self._stage(RunStage.EXPORT):
            pointer = self._registry.pointer()
            candidate = draft_candidate(
                members,
                trainer.net,
                examples,
                seed=seeds[0],
                now=self._clock(),
                parent=pointer.generation if pointer else "",
                run=self.run.id,
                snapshot_digest=snapshot.digest,
                settings={"net": trainer.net.model_dump(), "fit": fit.model_dump(), "seed": self._plan.seed},
            )
            return with_thresholds(candidate, labelled.control, labelled.training)

    def _judge(self, candidate: Candidate, control: Examples) -> Judged:
        """Hold the candidate against the gates; the run keeps the pointer whose generation it was held against."""
        with self._stage(RunStage.GATES):
            loaded = candidate.load()
            mine = judge(loaded, control, self._options)
            pointer = self._registry.pointer()
            theirs = self._assess_current(pointer, control)
            verdicts = (
                gates.parity_gate([member.parity for member in candidate.members]),
                gates.nll_floor_gate(mine.nll if mine else None, self._settings.trainer.nll_floor),
                gates.nll_against_current_gate(
                    mine.nll if mine else None,
                    theirs.nll if theirs else None,
                    control.drives.tolist(),
                    control.frames.tolist(),
                ),
            )
            metrics = {} if mine is None else mine.figures()
            correlation = seed_rank_correlation(loaded, control, self._options)
            if correlation is not None:
                metrics["seed_rank_correlation"] = correlation
            metrics |= cascade_metrics(loaded, control, self._options)
            metrics["training_loss"] = float(np.mean([member.loss for member in candidate.members]))
            remembered = {**self.run.settings, JUDGED_AGAINST: pointer.revision if pointer else 0}
            self._update(gates=[verdict.model_dump(mode="json") for verdict in verdicts], settings=remembered)
            self._record.measure(metrics)
            for verdict in verdicts:
                self._say(f"gate {verdict.gate}: {verdict.verdict}; {verdict.reason}")
            return Judged(verdicts, metrics)

    def _assess_current(self, pointer: Pointer | None, control: Examples) -> Assessment | None:
        if pointer is None:
            return None
        artefacts = self._registry.load(pointer.generation, pointer.manifest_digest)
        return judge(LoadedGeneration(artefacts, Provider.CPU), control, self._options)

    def _register(self, candidate: Candidate, judged: Judged) -> Manifest:
        with self._stage(RunStage.REGISTER):
            # the attempt before may have registered it and died before it could say so
            before = registered_before(self._registry, candidate) if self._before is RunStage.REGISTER else None
            manifest = before or candidate.register(self._registry, judged.gates, judged.metrics)
            self._update(generation=manifest.generation)
            self._say(f"registered {manifest.generation}")
            return manifest

    def _promote(self, manifest: Manifest) -> None:
        with self._stage(RunStage.PROMOTE):
            timeout = self._settings.trainer.promote_timeout
            generation, pointer = manifest.generation, self._registry.pointer()
            if pointer is not None and pointer.generation == generation:
                # by the attempt before
                replicas = wait_for_replicas(self._registry, generation, timeout, self._clock, before=pointer.previous or "")
            else:
                expected = self._judged_against(pointer)
                replicas = promote(self._registry, generation, expected, mover=self.run.id, timeout=timeout, clock=self._clock)
            self._say(f"promoted {generation}; answering: {', '.join(replicas) or 'no replica is alive'}")

    def _judged_against(self, pointer: Pointer | None) -> Pointer | None:
        """Return the pointer where it is the one that the candidate was judged against; raises PointerMoved."""
        judged, found = self.run.settings.get(JUDGED_AGAINST), pointer.revision if pointer else 0
        if judged != found:
            is_now = f"{pointer.generation} since ({pointer.mover})" if pointer else "unset"
            raise PointerMoved(f"the pointer moved after the candidate was judged: it is {is_now}")
        return pointer
