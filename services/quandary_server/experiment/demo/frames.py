"""The frames of the demo, with their proposals, and the oracle that knows their labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from quandary.errors import InvalidArgument
from quandary.labels import FrameLabels
from quandary.records import FrameRecord
from quandary_server.datasets.kitti import KittiFolder
from quandary_server.datasets.proposals import proposals_of
from quandary_server.datasets.records import frame_record
from quandary_server.datasets.sources import ProposalSource
from quandary_server.detector.examples import Examples
from quandary_server.experiment.demo.settings import DemoSettings
from quandary_server.simulator.fleet import simulate_fleet
from quandary_server.trainer.labelled import examples_of

SPLITS = ("pool", "control", "evaluation")


@dataclass(frozen=True)
class Frames:
    """Records in drive order by split, and the labels of every frame."""

    records: dict[str, tuple[FrameRecord, ...]]
    oracle: dict[str, FrameLabels]

    def drives(self, split: str) -> tuple[str, ...]:
        """Return the drives of a split."""
        return tuple(dict.fromkeys(record.drive_id for record in self.records[split]))

    def examples(self, records: Sequence[FrameRecord], side: int) -> Examples:
        """Return the labelled examples of records."""
        return Examples.joined([examples_of(record, self.oracle[record.frame_id], side) for record in records])


def demo_frames(settings: DemoSettings, progress: Callable[[int, int], None]) -> Frames:
    """Simulate the fleet, or read the real frames; raises InvalidArgument where a split has no frames."""
    root = settings.kitti
    if root is None:
        root = settings.out / "fleet"
        simulate_fleet(root, settings.fleet, progress)
    folder = KittiFolder(root)
    records: dict[str, tuple[FrameRecord, ...]] = {}
    oracle: dict[str, FrameLabels] = {}
    for split in SPLITS:
        found = []
        for entry in folder.frames(split):
            frame = folder.read(entry.frame_id)
            proposals = proposals_of(frame, settings.proposals, settings.seed)
            if not proposals and settings.proposals is ProposalSource.DETECTIONS:
                # the published detections are given for some frames only
                continue
            found.append(frame_record(frame, proposals))
            oracle[entry.frame_id] = frame.labels
        if not found:
            raise InvalidArgument.of(
                f"frames of split {split}", "none", f"at least one with proposals from {settings.proposals}"
            )
        records[split] = tuple(found)
    return Frames(records, oracle)
