"""One training run: snapshot, train, judge, register, promote."""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from quandary.errors import GateRefused, QuandaryError, TooLittleData, Violation
from quandary.options import ScoringOptions
from quandary_server.detector.examples import Examples
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.inference.provider import Provider
from quandary_server.registry.directory import Registry
from quandary_server.registry.manifest import Manifest
from quandary_server.registry.pointer import Pointer
from quandary_server.settings import Settings
from quandary_server.settings.promotion import PromotionPolicy
from quandary_server.storage.run_values import Run, RunStage, RunState
from quandary_server.storage.snapshots import Snapshot, write_snapshot
from quandary_server.storage.store import Store
from quandary_server.trainer.calibration import calibrated, split_control
from quandary_server.trainer.candidate import Candidate, draft_candidate
from quandary_server.trainer.cascade import with_thresholds
from quandary_server.trainer.judging import Judged, bench_of
from quandary_server.trainer.labelled import LabelledExamples, examples_of_snapshot
from quandary_server.trainer.members import fit_members
from quandary_server.trainer.moves import Cause, Told, untold
from quandary_server.trainer.promotion import promote
from quandary_server.trainer.shadow import check_shadow, shadow_figures

log = logging.getLogger(__name__)

HEARTBEAT_S = 2.0
MAX_ERROR_CHARACTERS = 500


@dataclass(frozen=True)
class RunPlan:
    """What was asked of a run."""

    members: int
    steps: int
    seed: int
    promote: bool


class TrainingRun:
    """Carries one run through its stages; the store knows how far it is at any time."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        settings: Settings,
        run: Run,
        plan: RunPlan,
        clock: Callable[[], datetime],
        told: Told = untold,
    ) -> None:
        self._store, self._registry, self._settings = store, registry, settings
        self._run, self._plan, self._clock, self._told = run, plan, clock, told
        self._options = ScoringOptions(mc_samples=settings.selector.mc_samples)
        self._seconds: dict[str, float] = {}

    def execute(self) -> Run:
        """Carry the run to its end, whatever that is, and return it."""
        try:
            with self._heartbeat():
                return self._execute()
        except GateRefused as error:
            return self._finish(RunState.REFUSED, str(error))
        except QuandaryError as error:
            return self._finish(RunState.FAILED, str(error))
        except Exception as error:
            incident = secrets.token_hex(4)
            log.exception("run_failed run=%s incident=%s", self._run.id, incident)
            what = str(error) if isinstance(error, ValueError) else type(error).__name__
            return self._finish(RunState.FAILED, f"{what} (the trainer's log has it as incident {incident})")

    def _execute(self) -> Run:
        snapshot, labelled = self._take_snapshot()
        self._check_enough(labelled)
        candidate = self._train(snapshot, labelled)
        pointer, judged = self._judge(candidate, snapshot, labelled)
        manifest = self._register(candidate, judged)

        refused = [gate for gate in judged.gates if gate.verdict == "refused"]
        if refused:
            raise GateRefused("; ".join(f"{gate.gate}: {gate.reason}" for gate in refused))
        policy = self._settings.trainer.promotion
        if not self._plan.promote or policy is PromotionPolicy.OFF:
            return self._finish(RunState.SUCCEEDED)
        self._shadow(candidate, pointer, labelled.control)
        if policy is PromotionPolicy.ASK:
            return self._finish(RunState.SUCCEEDED, f"waits for a person: quandary generations promote {manifest.generation}")
        self._promote(manifest, pointer)
        return self._finish(RunState.SUCCEEDED)

    def _take_snapshot(self) -> tuple[Snapshot, LabelledExamples]:
        with self._stage(RunStage.SNAPSHOT):
            self._settings.snapshots.mkdir(parents=True, exist_ok=True)
            frames = self._store.labels.all()
            snapshot = write_snapshot(self._settings.snapshots / f"{self._run.id}.parquet", frames)
            labelled = examples_of_snapshot(snapshot.frames, self._settings.trainer.net.side)
            self._update(
                label_sequence=max((frame.sequence for frame in frames), default=0),
                training_frames=len(set(labelled.training.frames.tolist())),
                training_crops=len(labelled.training),
                control_crops=len(labelled.control),
            )
            return snapshot, labelled

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
            members = fit_members(examples, trainer.net, fit, seeds[1:], self._progress)
        with self._stage(RunStage.EXPORT):
            pointer = self._registry.pointer()
            candidate = draft_candidate(
                members,
                trainer.net,
                examples,
                seed=seeds[0],
                now=self._clock(),
                parent=pointer.generation if pointer else "",
                run=self._run.id,
                snapshot_digest=snapshot.digest,
                settings={"net": trainer.net.model_dump(), "fit": fit.model_dump(), "seed": self._plan.seed},
            )
            split = split_control(labelled.control)
            return with_thresholds(calibrated(candidate, split, self._options), split.thresholds, labelled.training)

    def _judge(self, candidate: Candidate, snapshot: Snapshot, labelled: LabelledExamples) -> tuple[Pointer | None, Judged]:
        """Hold the candidate against the gates; the pointer is the one whose generation it was held against."""
        with self._stage(RunStage.GATES):
            pointer = self._registry.pointer()
            bench = bench_of(snapshot, labelled, self._options, self._settings.trainer.gates)
            judged = bench.judged(candidate, self._load(pointer))
            self._update(gates=[verdict.model_dump(mode="json") for verdict in judged.gates], metrics=judged.metrics)
            return pointer, judged

    def _load(self, pointer: Pointer | None) -> LoadedGeneration | None:
        if pointer is None:
            return None
        return LoadedGeneration(self._registry.load(pointer.generation, pointer.manifest_digest), Provider.CPU)

    def _register(self, candidate: Candidate, judged: Judged) -> Manifest:
        with self._stage(RunStage.REGISTER):
            manifest = candidate.register(self._registry, judged.gates, judged.metrics)
            self._update(generation=manifest.generation)
            return manifest

    def _shadow(self, candidate: Candidate, pointer: Pointer | None, control: Examples) -> None:
        """Have the candidate score recent frames beside the current generation; raises GateRefused beyond a bound."""
        settings = self._settings.trainer.shadow
        if pointer is None or not settings.frames:
            return
        with self._stage(RunStage.SHADOW):
            current = LoadedGeneration(self._registry.load(pointer.generation, pointer.manifest_digest), Provider.CPU)
            records = self._store.recent.scored(settings.frames)
            figures = shadow_figures(candidate.load(), current, records, control, self._options, settings)
            self._update(metrics={**self._run.metrics, **figures})
            check_shadow(figures, settings)

    def _promote(self, manifest: Manifest, pointer: Pointer | None) -> Sequence[str]:
        with self._stage(RunStage.PROMOTE):
            timeout = self._settings.trainer.promote_timeout
            how: Any = {"mover": self._run.id, "timeout": timeout, "clock": self._clock}
            return promote(self._registry, manifest.generation, pointer, **how, cause=Cause.RUN, told=self._told)

    @contextmanager
    def _stage(self, stage: RunStage) -> Iterator[None]:
        self._update(stage=stage, stage_progress=0.0)
        started = time.monotonic()
        try:
            yield
        finally:
            self._seconds[f"seconds_{stage.value}"] = time.monotonic() - started

    def _progress(self, share: float) -> None:
        self._update(stage_progress=min(share, 1.0))

    def _update(self, **changes: object) -> None:
        self._run = self._store.runs.update(self._run.id, now=self._clock(), **changes)  # type: ignore[arg-type]

    def _finish(self, state: RunState, error: str = "") -> Run:
        metrics = {**self._run.metrics, **self._seconds}
        return self._store.runs.finish(
            self._run.id, state, now=self._clock(), error=error[:MAX_ERROR_CHARACTERS], metrics=metrics
        )

    @contextmanager
    def _heartbeat(self) -> Iterator[None]:
        """Tell the store that this trainer is alive, also while a stage takes long."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(HEARTBEAT_S):
                try:
                    self._store.runs.update(self._run.id, now=self._clock())
                except QuandaryError as error:
                    log.warning("heartbeat_failed run=%s problem=%s", self._run.id, error)

        thread = threading.Thread(target=beat, name="run-heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
