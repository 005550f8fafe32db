"""A simulated fleet's frames in a store, and their labels, to be handed in when it is time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from quandary import FrameLabels, FrameRecord, convert
from quandary_server.bench.progress import Told
from quandary_server.datasets.kitti import KittiFolder
from quandary_server.datasets.proposals import detection_proposals
from quandary_server.datasets.records import frame_record
from quandary_server.simulator.fleet import simulate_fleet
from quandary_server.simulator.settings import FleetSettings
from quandary_server.storage.store import Store
from quandary_server.storage.task_values import CONTROL_QUEUE, TaskEntry

QUEUES = {"pool": "active", "control": CONTROL_QUEUE}

ANY_GENERATION: dict[str, Any] = {
    "slack": 1e6,
    "recall_floor": 0.0,
    "nll_floor": 100.0,
    "nll_over_frequencies": 100.0,
    "ece_floor": 1.0,
    "centre_floor_m": 100.0,
    "ause_over_random": 100.0,
    "latency_ratio": 100.0,
    "disagreement_floor": 0.0,
}
"""Settings of gates that let small nets of few steps pass: whether they are any good is not what is asked."""


@dataclass(frozen=True)
class LabelledFleet:
    """Frames by queue, each with its labels."""

    frames: dict[str, list[tuple[FrameRecord, FrameLabels]]]

    def crops(self, queue: str = "active") -> int:
        """Return the proposals of a queue's frames: what its labels count as."""
        return sum(len(record.proposals) for record, _ in self.frames[queue])

    def enqueue(self, store: Store, now: datetime) -> None:
        """Put all frames into an empty store, unscored."""
        entries: list[TaskEntry] = []
        for queue, frames in self.frames.items():
            for record, _ in frames:
                at, payload = len(entries) + 1, convert.record_message(record).SerializeToString()
                named = (record.frame_id, record.drive_id, record.stamp, payload)
                entries.append(TaskEntry(at, queue, *named, len(record.proposals), shuffle=at))
        store.intake.apply(entries, log="bench", after=0, position=len(entries), now=now)

    def submit(self, store: Store, now: datetime, queues: Sequence[str] = tuple(QUEUES.values())) -> None:
        """Hand in the labels of whole queues."""
        for queue in queues:
            store.labels.submit([labels for _, labels in self.frames[queue]], labeller="bench", now=now)

    def submit_share(self, store: Store, now: datetime, part: int, parts: int) -> None:
        """Hand in the labels of every `parts`-th frame to train on, beginning with frame `part`."""
        store.labels.submit([labels for _, labels in self.frames["active"][part::parts]], labeller="bench", now=now)


def simulated(folder: Path, fleet: FleetSettings, told: Told) -> LabelledFleet:
    """Simulate a fleet into a folder, which keeps the clouds."""
    simulate_fleet(folder, fleet, lambda done, total: told("simulating a fleet", done, total))
    dataset = KittiFolder(folder)
    found: dict[str, list[tuple[FrameRecord, FrameLabels]]] = {queue: [] for queue in QUEUES.values()}
    for split, queue in QUEUES.items():
        for entry in dataset.frames(split):
            frame = dataset.read(entry.frame_id)
            if proposals := detection_proposals(frame):
                found[queue].append((frame_record(frame, proposals), frame.labels))
    return LabelledFleet(found)
