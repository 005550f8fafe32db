"""Holds labels against the frames that they are for, before anything is stored."""

import logging
from collections.abc import Sequence
from datetime import datetime

from quandary.errors import InvalidArgument, QuandaryError, Violation, within
from quandary.labels import FrameLabels
from quandary.v1 import fleet_log_pb2
from quandary_server.datasets.plausibility import Extent, check_plausible
from quandary_server.storage.blobs import read_cloud
from quandary_server.storage.store import Store

log = logging.getLogger(__name__)


class LabelCheck:
    """Checks labels; a frame's cloud is read for it then and there, which takes milliseconds where labelling took minutes.

    Labels of a cloud that cannot be read are taken without a look at it: a person's work is not lost for a file that was
    moved meanwhile. The log says so.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def of_task(self, queue: str, frame_id: str, labels: FrameLabels, *, now: datetime) -> None:
        """Raise InvalidArgument for labels of the task's frame that cannot be, NotFound if there is no such task."""
        record = self._store.tasks.get(queue, frame_id, now=now).record
        check_plausible(labels.labels, _extent(record) if labels.labels else None)

    def of_frames(self, frames: Sequence[FrameLabels]) -> None:
        """Raise InvalidArgument with every label that cannot be, below frames[i]; frames may be unknown."""
        records = self._store.labels.records([frame.frame_id for frame in frames if frame.labels])
        wrong: list[Violation] = []
        for i, frame in enumerate(frames):
            try:
                with within(f"frames[{i}]"):
                    check_plausible(frame.labels, _extent(records[frame.frame_id]) if frame.frame_id in records else None)
            except InvalidArgument as error:
                wrong += error.violations
        if wrong:
            raise InvalidArgument.all(wrong)


def _extent(record: bytes) -> Extent | None:
    uri = fleet_log_pb2.FrameRecord.FromString(record).cloud_uri
    try:
        return Extent.of(read_cloud(uri))
    except QuandaryError as error:
        log.warning("labels_not_held_against_cloud problem=%s", error)
        return None
