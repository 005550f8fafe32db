"""One training run: snapshot, train, judge, register, promote."""

import logging
import secrets
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from quandary.errors import (
    CorruptArtefact,
    GateRefused,
    NotFound,
    PointerMoved,
    QuandaryError,
    Unavailable,
)
from quandary.labels import CLASSES
from quandary.options import ScoringOptions
from quandary_server.detector.examples import Examples
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.inference.provider import Provider
from quandary_server.registry.directory import Registry
from quandary_server.registry.manifest import Manifest
from quandary_server.registry.pointer import Pointer
from quandary_server.settings import Settings
from quandary_server.settings.promotion import PromotionPolicy
from quandary_server.storage.run_values import Run, RunStage, RunState, RunTaken
from quandary_server.storage.snapshots import Snapshot, read_snapshot, write_snapshot
from quandary_server.storage.store import Store
from quandary_server.trainer.calibration import calibrated, split_control
from quandary_server.trainer.candidate import Candidate, draft_candidate, registered_before
from quandary_server.trainer.cascade import with_thresholds
from quandary_server.trainer.checkpoints import Checkpoints
from quandary_server.trainer.current import load_current
from quandary_server.trainer.enough import check_enough
from quandary_server.trainer.fit_report import FitReport
from quandary_server.trainer.judging import Judged, bench_of
from quandary_server.trainer.labelled import LabelledExamples, examples_of_snapshot
from quandary_server.trainer.members import fit_members, prepare_workers
from quandary_server.trainer.moves import Cause, Told, untold
from quandary_server.trainer.plan import RunPlan
from quandary_server.trainer.promotion import promote, promotion, see_through
from quandary_server.trainer.run_record import RunRecord, TrainerStops
from quandary_server.trainer.shadow import check_shadow, shadow_figures

log = logging.getLogger(__name__)

READ_BETWEEN_LOOKS = 32
"""Labelled frames that are read between two looks at whether the run goes on."""

JUDGED_AGAINST = "judged_against"
"""Of a run's settings: revision of the pointer whose generation the candidate was held against, 0 for none."""


class TrainingRun:
    """Carries one run through its stages; the store knows how far it is at any time.

    Every stage may be done again: what an attempt before left is taken where it is whole. before: the stage that the attempt
    before broke in, None for the first. told: called with what the run does to the pointer.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        settings: Settings,
        run: Run,
        clock: Callable[[], datetime],
        told: Told = untold,
        before: RunStage | None = None,
    ) -> None:
        self._store, self._registry, self._settings = store, registry, settings
        self._before, self._clock, self._told = before, clock, told
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

    @property
    def _snapshot_path(self) -> Path:
        return self._settings.snapshots / f"{self.run.id}.parquet"

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
            note = self._carry()
        except (RunTaken, TrainerStops):
            raise
        except GateRefused as error:
            return finish(RunState.REFUSED, str(error))
        except Unavailable as error:
            if self.run.resumptions >= self._settings.trainer.resumptions:
                return finish(RunState.FAILED, str(error))
            # left as if this trainer had died: whoever finds it silent, most likely this one, goes on from here
            self._say(f"interrupted: {error}; it is gone on with from here in {self._settings.trainer.lost_after}")
            return self.run
        except QuandaryError as error:
            return finish(RunState.FAILED, str(error))
        except Exception as error:
            incident = secrets.token_hex(4)
            log.exception("run_failed run=%s incident=%s", self.run.id, incident)
            what = str(error) if isinstance(error, ValueError) else type(error).__name__
            return finish(RunState.FAILED, f"{what} (the trainer's log has it as incident {incident})")
        return finish(RunState.SUCCEEDED, note)

    def _carry(self) -> str:
        """Carry the run through its stages; return what is left for others to do, mostly nothing."""
        plan, policy = self._plan, self._settings.trainer.promotion
        if self._before is not None:
            of = f" (resumption {self.run.resumptions} of {self._settings.trainer.resumptions})" if self.run.resumptions else ""
            self._say(f"resumed in stage {self._before.value}{of}")
        if self.run.generation:
            manifest, control = self._registry.verified(self.run.generation), None
            gates = manifest.gates
        else:
            prepare_workers(plan.members)
            snapshot, labelled = self._take_snapshot()
            check_enough(snapshot, labelled, self._settings.trainer)
            candidate = self._train(snapshot, labelled)
            judged = self._judge(candidate, snapshot, labelled)
            manifest, control = self._register(candidate, judged), labelled.control
            gates = judged.gates

        refused = [gate for gate in gates if gate.verdict == "refused"]
        if refused:
            raise GateRefused("; ".join(f"{gate.gate}: {gate.reason}" for gate in refused))
        if not plan.promote or policy is PromotionPolicy.OFF:
            return ""
        if self._before is not RunStage.PROMOTE:
            self._shadow(manifest, control)
        if policy is PromotionPolicy.ASK:
            return f"waits for a person: quandary generations promote {manifest.generation}"
        self._promote(manifest)
        return ""

    def _take_snapshot(self) -> tuple[Snapshot, LabelledExamples]:
        with self._stage(RunStage.SNAPSHOT):
            snapshot = self._snapshot()
            labelled = self._read(snapshot)
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
            if lost := [*labelled.unreadable, *labelled.unreadable_control]:
                self._say(f"left out: {len(lost)} frames whose clouds cannot be read; the first: {labelled.problem}")
            if labelled.crossed:
                self._say(f"left out: {len(labelled.crossed)} frames to train on of drives that have control frames")
            return snapshot, labelled

    def _read(self, snapshot: Snapshot) -> LabelledExamples:
        """Return the examples; raises as `RunRecord.update` does soon after the run was cancelled, or is to stop."""
        count = len(snapshot.frames)

        def done(number: int) -> None:
            if number % READ_BETWEEN_LOOKS == 0:
                self._update(stage_progress=number / count)

        return examples_of_snapshot(snapshot.frames, self._settings.trainer.net.side, done)

    def _snapshot(self) -> Snapshot:
        """Take the labels there are now, or those that the attempt before took, where the file is whole."""
        path = self._snapshot_path
        if self._before is not None:
            try:
                return read_snapshot(path)
            except (NotFound, CorruptArtefact) as error:
                self._say(f"the labels are taken anew: {error}")
        return write_snapshot(path, self._store.labels.all())

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
            split = split_control(labelled.control)
            return with_thresholds(calibrated(candidate, split, self._options), split.thresholds, labelled.training)

    def _judge(self, candidate: Candidate, snapshot: Snapshot, labelled: LabelledExamples) -> Judged:
        """Hold the candidate against the gates; the run keeps the pointer whose generation it was held against."""
        with self._stage(RunStage.GATES):
            pointer = self._registry.pointer()
            bench = bench_of(snapshot, labelled, self._options, self._settings.trainer.gates)
            judged = bench.judged(candidate, self._current(pointer) if pointer else None)
            remembered = {**self.run.settings, JUDGED_AGAINST: pointer.revision if pointer else 0}
            self._update(gates=[verdict.model_dump(mode="json") for verdict in judged.gates], settings=remembered)
            self._record.measure(judged.metrics)
            for verdict in judged.gates:
                self._say(f"gate {verdict.gate}: {verdict.verdict}; {verdict.reason}")
            return judged

    def _current(self, pointer: Pointer) -> LoadedGeneration | None:
        """Return the current generation; None, told, where it cannot be read: training anew is what mends that."""
        try:
            return load_current(self._registry, pointer)
        except (CorruptArtefact, NotFound) as error:
            self._say(f"nothing can be held against {pointer.generation}, the current generation: {error}")
            return None

    def _register(self, candidate: Candidate, judged: Judged) -> Manifest:
        with self._stage(RunStage.REGISTER):
            # an attempt before may have registered it and died before it could say so
            before = registered_before(self._registry, candidate) if self._before is not None else None
            manifest = before or candidate.register(self._registry, judged.gates, judged.metrics)
            self._update(generation=manifest.generation)
            self._say(f"registered {manifest.generation}")
            return manifest

    def _shadow(self, manifest: Manifest, control: Examples | None) -> None:
        """Have the candidate score recent frames beside the current generation; raises GateRefused beyond a bound.

        control: the control crops, None where the attempt before made them.
        """
        settings, pointer = self._settings.trainer.shadow, self._registry.pointer()
        if pointer is None or pointer.generation == manifest.generation or not settings.frames:
            return
        with self._stage(RunStage.SHADOW):
            if (current := self._current(pointer)) is None:
                return
            candidate = LoadedGeneration(self._registry.load(manifest.generation), Provider.CPU)
            if control is None:
                control = self._control_again()
            records = self._store.recent.scored(settings.frames)
            figures = shadow_figures(candidate, current, records, control, self._options, settings)
            self._record.measure(figures)
            told = ", ".join(f"{name.removeprefix('shadow_')} {value:.3g}" for name, value in figures.items())
            self._say(f"beside {pointer.generation}: {told}")
            check_shadow(figures, settings)

    def _control_again(self) -> Examples:
        """Return the control crops that the attempt before made; none where its snapshot is on another machine, or torn."""
        try:
            frames = [frame for frame in read_snapshot(self._snapshot_path).frames if frame.control]
        except (NotFound, CorruptArtefact) as error:
            self._say(f"beside the current generation without control labels: {error}")
            frames = []
        return examples_of_snapshot(frames, self._settings.trainer.net.side).control

    def _promote(self, manifest: Manifest) -> None:
        with self._stage(RunStage.PROMOTE):
            timeout = self._settings.trainer.promote_timeout
            generation, pointer = manifest.generation, self._registry.pointer()
            if pointer is not None and pointer.generation == generation:
                replicas = self._see_through(pointer, timeout)
            else:
                how: dict[str, Any] = {"mover": self.run.id, "timeout": timeout, "clock": self._clock}
                expected = self._judged_against(pointer)
                replicas = promote(self._registry, generation, expected, **how, cause=Cause.RUN, told=self._told)
            self._say(f"promoted {generation}; answering: {', '.join(replicas) or 'no replica is alive'}")

    def _see_through(self, moved: Pointer, timeout: timedelta) -> list[str]:
        """Go on with the promotion that the attempt before began, and tell of it where that could not."""
        before, last = moved.previous or "", self._store.audit.last_move()
        if last is None or last.details.get("revision") != str(moved.revision):
            self._told(promotion(moved, before, timeout, Cause.RUN))
        return see_through(self._registry, moved, before, timeout=timeout, clock=self._clock, told=self._told)

    def _judged_against(self, pointer: Pointer | None) -> Pointer | None:
        """Return the pointer where it is the one that the candidate was judged against; raises PointerMoved."""
        judged, found = self.run.settings.get(JUDGED_AGAINST), pointer.revision if pointer else 0
        if judged != found:
            is_now = f"{pointer.generation} since ({pointer.mover})" if pointer else "unset"
            raise PointerMoved(f"the pointer moved after the candidate was judged: it is {is_now}")
        return pointer
