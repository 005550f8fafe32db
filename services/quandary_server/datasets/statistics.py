"""What a labelled folder holds, in figures, so that two folders can be put side by side."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quandary.frames import Proposal
from quandary.labels import LABEL_CLASSES, FrameLabels
from quandary_server.datasets.clouds import read_cloud
from quandary_server.datasets.kitti import DatasetFrame, KittiFolder
from quandary_server.datasets.matching import Outcome, OutcomeKind, match_labels

PERCENTILES = (10, 25, 50, 75, 90)


@dataclass(frozen=True)
class LabelledFrame:
    """One frame as `folder_statistics` looks at it: cloud (N, 4), labels, and the outcomes of its proposals."""

    points: NDArray[np.float32]
    labels: FrameLabels
    outcomes: Sequence[Outcome] = ()


@dataclass(frozen=True)
class ClassStatistics:
    """One class: count, share of all labels, shares of occlusion 0 to 3, and percentiles 10, 25, 50, 75, 90.

    distance_m: from the LiDAR to the box centre along the ground. points: LiDAR points in the box.
    """

    count: int
    share: float
    occlusion_shares: tuple[float, ...]
    distance_m: tuple[float, ...]
    points: tuple[float, ...]
    without_points_share: float


@dataclass(frozen=True)
class FolderStatistics:
    """A folder: frames, cloud sizes, labels per class, crops (proposals that teach something) and how many are background."""

    frames: int
    points_per_frame: tuple[float, ...]
    labels_per_frame: float
    ignored_regions_per_frame: float
    classes: Mapping[str, ClassStatistics]
    crops_per_frame: float
    background_share: float
    ignored_proposals_share: float
    found_labels_share: float


def labelled_frames(
    folder: KittiFolder, propose: Callable[[DatasetFrame], Sequence[Proposal]], split: str | None = None
) -> Iterator[LabelledFrame]:
    """Yield the frames of a folder, of one split or all, with what their labels say about the proposals of `propose`."""
    for entry in folder.frames(split):
        frame = folder.read(entry.frame_id)
        outcomes = match_labels(frame.labels, propose(frame), frame.calibration)
        yield LabelledFrame(read_cloud(frame.cloud_path), frame.labels, outcomes)


def folder_statistics(frames: Iterable[LabelledFrame]) -> FolderStatistics:
    """Return the figures of labelled frames; classes that do not occur are left out, empty percentiles are empty tuples."""
    sizes, labels_of, regions, kinds, matched = [], [], 0, [], 0
    measured: dict[str, list[tuple[float, int, int]]] = {}
    for frame in frames:
        sizes.append(len(frame.points))
        labels_of.append(len(frame.labels.labels))
        regions += len(frame.labels.ignored_regions)
        kinds += [outcome.kind for outcome in frame.outcomes]
        matched += sum(outcome.label is not None for outcome in frame.outcomes)
        for label in frame.labels.labels:
            inside = int(label.box.contains(frame.points).sum())
            distance = float(np.hypot(label.box.x_m, label.box.y_m))
            occlusion = -1 if label.occlusion is None else label.occlusion
            measured.setdefault(label.class_name, []).append((distance, inside, occlusion))

    total = sum(labels_of)
    taught = [kind for kind in kinds if kind is not OutcomeKind.IGNORED]
    return FolderStatistics(
        frames=len(sizes),
        points_per_frame=_percentiles(sizes),
        labels_per_frame=_ratio(total, len(sizes)),
        ignored_regions_per_frame=_ratio(regions, len(sizes)),
        classes={name: _class_statistics(measured[name], total) for name in LABEL_CLASSES if name in measured},
        crops_per_frame=_ratio(len(taught), len(sizes)),
        background_share=_ratio(taught.count(OutcomeKind.BACKGROUND), len(taught)),
        ignored_proposals_share=_ratio(len(kinds) - len(taught), len(kinds)),
        found_labels_share=_ratio(matched, total),
    )


def _class_statistics(measured: Sequence[tuple[float, int, int]], total: int) -> ClassStatistics:
    distances, points, occlusions = (np.array(column) for column in zip(*measured, strict=True))
    return ClassStatistics(
        count=len(measured),
        share=len(measured) / total,
        occlusion_shares=tuple(float(np.mean(occlusions == level)) for level in range(4)),
        distance_m=_percentiles(distances),
        points=_percentiles(points),
        without_points_share=float(np.mean(points == 0)),
    )


def _percentiles(values: Sequence[float] | NDArray[np.generic]) -> tuple[float, ...]:
    return tuple(np.percentile(np.asarray(values, float), PERCENTILES).tolist()) if len(values) else ()


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
