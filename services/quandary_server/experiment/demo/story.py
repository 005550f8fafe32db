"""The demo, told."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from quandary import LabellingClient, TrainingClient, convert
from quandary.errors import DeadlineExceeded, WrongState
from quandary.options import ScoringOptions
from quandary.v1 import queue_pb2, training_pb2
from quandary_server.auth import ensure_tokens
from quandary_server.clock import now
from quandary_server.cluster import free_ports
from quandary_server.detector.examples import Examples
from quandary_server.detector.settings import FitSettings
from quandary_server.experiment.demo.curves import Arm
from quandary_server.experiment.demo.frames import Frames, demo_frames
from quandary_server.experiment.demo.random_arm import RandomArm
from quandary_server.experiment.demo.scoring_loop import ScoringLoop
from quandary_server.experiment.demo.settings import DemoSettings
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.registry.directory import Registry
from quandary_server.selector.open_log import log_writer
from quandary_server.settings import Settings, load_settings
from quandary_server.stack import Stack
from quandary_server.storage.frame_log import LogRecord
from quandary_server.trainer.calibration import split_control

ACTIVE, CONTROL = "active", "control"
WAIT_LIMIT = timedelta(minutes=5)
LOOK_EVERY_S = 0.1
LOOP_FRAMES = 4

Bar = Callable[[str, int | None], AbstractContextManager[Any]]
"""Shows progress: a context manager of a description and a total, which yields `advance(done)`."""


@dataclass(frozen=True)
class Outcome:
    """What the demo found: both arms, the scoring loop, generations that served, and seconds by part."""

    active: Arm
    random: Arm
    loop: ScoringLoop
    generations: tuple[str, ...]
    seconds: dict[str, float]
    frames: Frames


class Demo:
    """A fleet streams frames; they are scored and ranked; the oracle labels what the queue asks for; the trainer retrains and
    the better generation answers: round after round, beside an arm that labels by chance.
    """

    def __init__(self, settings: DemoSettings, told: Callable[[str], None], bar: Bar) -> None:
        self._demo, self._told, self._bar = settings, told, bar
        self._seconds: dict[str, float] = {}
        self._generations: list[str] = []
        self._options = ScoringOptions()

    def run(self) -> Outcome:
        """Tell the story; raises what goes wrong in it."""
        started = time.monotonic()
        with self._timed("frames"):
            frames = self._frames()
        settings = demo_settings(self._demo, frames)
        with ExitStack() as stack:
            with self._timed("start"):
                services = stack.enter_context(Stack(settings, self._told))
                self._told("starting Ray and the services ...")
                services.start()
            token = ensure_tokens(settings.tokens)
            labelling = stack.enter_context(LabellingClient(f"127.0.0.1:{settings.selector.port}", token=token))
            training = stack.enter_context(TrainingClient(f"127.0.0.1:{settings.trainer.port}", token=token))
            loop = ScoringLoop(settings.scoring_target, token, frames.records["evaluation"][:LOOP_FRAMES])
            with self._timed("publish"):
                self._publish(settings, frames, labelling)
            loop.start()
            stack.callback(loop.stop)
            active, random = self._rounds(settings, frames, labelling, training)
            loop.stop()
        self._seconds["total"] = time.monotonic() - started
        return Outcome(active, random, loop, tuple(self._generations), self._seconds, frames)

    def _frames(self) -> Frames:
        fleet = self._demo.fleet
        total = None if self._demo.kitti else fleet.drives * fleet.frames_per_drive
        with self._bar("simulating a fleet" if total else "reading real frames", total) as advance:
            frames = demo_frames(self._demo, lambda done, _: advance(done))
        counts = ", ".join(f"{len(records)} {split}" for split, records in frames.records.items())
        self._told(f"frames by split: {counts}")
        return frames

    def _publish(self, settings: Settings, frames: Frames, labelling: LabellingClient) -> None:
        """The fleet logs the frames of pool and control drives; the selector takes them in."""
        records = [*frames.records["pool"], *frames.records["control"]]
        payloads = [convert.record_message(record).SerializeToString() for record in records]
        with log_writer(settings) as fleet_log:
            fleet_log.append([LogRecord(r.frame_id, p, r.drive_id) for r, p in zip(records, payloads, strict=True)], now=now())
        with self._bar("the fleet streams in", len(records)) as advance:
            for stats in self._until_settled(labelling, lambda stats: stats.log_lag == 0):
                advance(len(records) - stats.log_lag)
        stats = labelling.queue_stats(ACTIVE)
        self._told(f"{stats.waiting} frames wait in the queue, {stats.unscored} of them unscored: there is no generation yet")

    def _rounds(
        self, settings: Settings, frames: Frames, labelling: LabellingClient, training: TrainingClient
    ) -> tuple[Arm, Arm]:
        demo, active, random = self._demo, Arm("active"), Arm("random")
        side = settings.trainer.net.side
        evaluation = frames.examples(frames.records["evaluation"], side)
        registry = settings.open_registry()
        judged = self._label(labelling, CONTROL, demo.control_crops, frames, "control drives labelled")
        control = split_control(self._examples(frames, judged, side, CONTROL))
        first = self._label(labelling, ACTIVE, demo.first_crops, frames, "first labels, in random order")
        trained = ScoringOptions(mc_samples=settings.selector.mc_samples)
        chance = RandomArm(frames, first, settings.trainer.net, settings.trainer.fit, demo.seed, control, trained)
        labels = chance.crops
        asked = self._examples(frames, first, side)
        for arm in (active, random):
            arm.ask(asked)

        for number in range(demo.rounds + 1):
            seed = demo.seed + number
            with ThreadPoolExecutor(1) as beside, self._timed("training"):
                # the first round is the same for both: one training serves
                other = beside.submit(chance.train, demo.members, seed, now()) if number else None
                generation = self._train(training, registry, seed, number)
                point = active.measure(generation, labels, evaluation, self._options)
                random.measure(other.result() if other else generation, chance.crops, evaluation, self._options)
            self._told(
                f"round {number}: {labels} labels, macro recall {point.macro_recall:.3f} "
                f"(random {random.points[-1].macro_recall:.3f}), NLL {point.nll:.3f} ({random.points[-1].nll:.3f})"
            )
            if number == demo.rounds:
                break
            with self._timed("rescoring"):
                self._wait_until_ranked(labelling, generation.id)
            with self._timed("labelling"):
                new = self._label(labelling, ACTIVE, demo.round_crops, frames, f"round {number + 1}: the oracle labels")
                asked = self._examples(frames, new, side)
                labels += sum(self._crops(frames, frame_id) for frame_id in new)
                active.ask(asked)
                random.ask(chance.label_up_to(labels))
        return active, random

    def _label(self, labelling: LabellingClient, queue: str, crops: int, frames: Frames, description: str) -> list[str]:
        """Lease what the queue asks for and hand in the oracle's labels, until so many crops are labelled."""
        done, labelled = 0, []
        with self._bar(description, crops) as advance:
            while done < crops:
                with labelling.lease(queue) as tasks:
                    if not tasks:
                        if not self._comes_after_all(labelling, queue):
                            break
                        continue
                    (task,) = tasks
                    task.acknowledge(frames.oracle[task.task.frame_id])
                    labelled.append(task.task.frame_id)
                    done += task.task.crops
                    advance(min(done, crops))
        return labelled

    def _comes_after_all(self, labelling: LabellingClient, queue: str) -> bool:
        """Wait until near copies of what is labelled are asked for, nothing else being left; return whether there are any."""
        *_, last = self._until_settled(labelling, lambda stats: bool(stats.waiting) or not stats.folded, queue)
        return bool(last.waiting)

    def _train(self, training: TrainingClient, registry: Registry, seed: int, number: int) -> LoadedGeneration:
        run = training.start_run(seed=seed)
        name = run.name
        with self._bar(f"round {number}: training and swapping", training_pb2.RUN_STAGE_DONE) as advance:
            for run in training.watch_run(name):
                advance(run.stage - 1 + run.stage_progress)
        if run.state not in (training_pb2.RUN_STATE_SUCCEEDED, training_pb2.RUN_STATE_REFUSED):
            raise WrongState(f"{run.name} ended as {training_pb2.RunState.Name(run.state)}: {run.error}")
        if run.state == training_pb2.RUN_STATE_REFUSED:
            self._told(f"{run.generation} was refused: {run.error}")
            if registry.pointer() is None:
                # without a generation there is no story; later ones have to beat this one
                self._told(f"there is no other yet: {run.generation} is promoted by force")
                training.promote(run.generation, force=True, replica_timeout=WAIT_LIMIT)
        pointer = registry.pointer()
        if pointer is None:
            raise WrongState(f"{run.name} ended and no generation is current: {run.error}")
        self._generations.append(pointer.generation)
        return LoadedGeneration(registry.load(run.generation.removeprefix("generations/")))

    def _wait_until_ranked(self, labelling: LabellingClient, generation: str) -> None:
        current = self._generations[-1] if self._generations else generation
        with self._bar("the queue is scored anew", None) as advance:
            for stats in self._until_settled(labelling, lambda stats: stats.ranked_generation == current):
                advance(stats.waiting - stats.behind)

    def _until_settled(
        self, labelling: LabellingClient, settled: Callable[[queue_pb2.QueueStats], bool], queue: str = ACTIVE
    ) -> Iterator[queue_pb2.QueueStats]:
        deadline = time.monotonic() + WAIT_LIMIT.total_seconds()
        while True:
            stats = labelling.queue_stats(queue)
            yield stats
            if settled(stats):
                return
            if time.monotonic() > deadline:
                raise DeadlineExceeded(f"the queue has not settled after {WAIT_LIMIT}: {stats}")
            time.sleep(LOOK_EVERY_S)

    def _examples(self, frames: Frames, frame_ids: list[str], side: int, split: str = "pool") -> Examples:
        wanted = set(frame_ids)
        return frames.examples([record for record in frames.records[split] if record.frame_id in wanted], side)

    def _crops(self, frames: Frames, frame_id: str) -> int:
        return next(len(record.proposals) for record in frames.records["pool"] if record.frame_id == frame_id)

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self._seconds[part] = self._seconds.get(part, 0.0) + time.monotonic() - started


def demo_settings(demo: DemoSettings, frames: Frames) -> Settings:
    """Return the settings of the services: the embedded default, on free ports, with the data below the demo's folder."""
    scoring, http, scoring_metrics, selector, selector_metrics, trainer, trainer_metrics = free_ports(7)
    base = load_settings(data=demo.out / "data")
    return base.model_copy(
        update={
            "scoring": base.scoring.model_copy(update={"port": scoring, "http_port": http, "metrics_port": scoring_metrics}),
            "selector": base.selector.model_copy(
                update={
                    "port": selector,
                    "metrics_port": selector_metrics,
                    "control_share": 0.0,
                    "control_drives": frames.drives("control"),
                    "shuffle_seed": demo.seed,
                }
            ),
            "trainer": base.trainer.model_copy(
                update={
                    "port": trainer,
                    "metrics_port": trainer_metrics,
                    "members": demo.members,
                    "fit": FitSettings(steps=demo.steps),
                    "new_crops": 0,
                    "min_crops": min(base.trainer.min_crops, demo.first_crops),
                }
            ),
        }
    )
