"""From labelled frames to training examples."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from quandary import convert
from quandary.errors import QuandaryError
from quandary.frustum import crop_frusta
from quandary.labels import FrameLabels
from quandary.records import FrameRecord
from quandary.v1 import fleet_log_pb2
from quandary_server.datasets.matching import OutcomeKind, match_labels
from quandary_server.detector.examples import Examples, make_examples
from quandary_server.frustum.raster import rasterise
from quandary_server.storage.blobs import read_cloud
from quandary_server.storage.label_values import LabelledFrame

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelledExamples:
    """The examples of a snapshot: those to train on, those of control drives, and the frames of either that cannot be read.

    problem: why the first of these cannot. crossed: frames of control drives that were labelled in another queue.
    """

    training: Examples
    control: Examples
    unreadable: tuple[str, ...]
    unreadable_control: tuple[str, ...] = ()
    problem: str = ""
    crossed: tuple[str, ...] = ()


def examples_of_snapshot(
    frames: Sequence[LabelledFrame], side: int, done: Callable[[int], None] = lambda _: None
) -> LabelledExamples:
    """Return the examples of labelled frames. A frame whose cloud cannot be read any more is left out and named.

    So is a frame to train on of a drive that has control frames: nets are not taught by a drive that judges them, nor judged
    by frames that were asked for.

    done: told after each frame how many there were; what it raises ends the reading.
    """
    found: dict[bool, list[Examples]] = {True: [], False: []}
    unreadable: dict[bool, list[str]] = {True: [], False: []}
    judging = {frame.drive_id for frame in frames if frame.control}
    crossed, problem = [], ""
    for number, frame in enumerate(frames, start=1):
        if frame.drive_id in judging and not frame.control:
            crossed.append(frame.frame_id)
            continue
        try:
            found[frame.control].append(examples_of_frame(frame, side))
        except QuandaryError as error:
            log.warning("frame_left_out frame=%s problem=%s", frame.frame_id, error)
            unreadable[frame.control].append(frame.frame_id)
            problem = problem or str(error)
        done(number)
    training, control = (Examples.joined(found[is_control]) for is_control in (False, True))
    return LabelledExamples(training, control, tuple(unreadable[False]), tuple(unreadable[True]), problem, tuple(crossed))


def examples_of_frame(frame: LabelledFrame, side: int) -> Examples:
    """Return the examples of one frame as the store keeps it; raises as `examples_of` does."""
    return examples_of(convert.record(fleet_log_pb2.FrameRecord.FromString(frame.record)), frame.labels, side)


def examples_of(record: FrameRecord, labels: FrameLabels, side: int) -> Examples:
    """Return the examples of a labelled record: one per proposal, but those over ignored regions.

    Raises NotFound, Unavailable or InvalidArgument where the cloud cannot be read.
    """
    outcomes = match_labels(labels, record.proposals, record.calibration)
    taught = [
        (proposal.box, outcome.label)
        for proposal, outcome in zip(record.proposals, outcomes, strict=True)
        if outcome.kind is not OutcomeKind.IGNORED
    ]
    boxes = [box for box, _ in taught]
    crops = crop_frusta(read_cloud(record.cloud_uri), record.calibration, boxes)
    rasters = rasterise(crops, record.calibration, boxes, side)
    return make_examples(rasters, [label for _, label in taught], record.drive_id, record.frame_id)
