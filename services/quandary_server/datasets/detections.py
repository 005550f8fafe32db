"""Published 2D detections: lines `.../image_2/<id>.png class score left top right bottom` of rgb_detection_*.txt.

The format is that of frustum-pointnets (Qi et al., CVPR 2018), class 1 pedestrian, 2 car, 3 cyclist.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from quandary.errors import InvalidArgument, within
from quandary.frames import Proposal
from quandary.geometry import ImageBox
from quandary_server.datasets.files import numbers, read_lines

COLUMNS = 7
CLASS_HINTS = {1: "Pedestrian", 2: "Car", 3: "Cyclist"}
PATTERN = "rgb_detection_*.txt"


def read_detections(root: Path) -> dict[str, list[Proposal]]:
    """Return the detections by frame id of every rgb_detection_*.txt below root; none if there is no such file.

    Raises InvalidArgument, named by file and line.
    """
    found: dict[str, list[Proposal]] = {}
    for path in sorted(root.rglob(PATTERN)):
        name = str(path.relative_to(root))
        for frame_id, proposal in parse_detections(name, read_lines(path, name)):
            found.setdefault(frame_id, []).append(proposal)
    return found


def parse_detections(name: str, lines: Sequence[str]) -> list[tuple[str, Proposal]]:
    """Return frame id and proposal of each line; raises InvalidArgument, named by file and line."""
    found = []
    for i, line in enumerate(lines, start=1):
        with within(f"{name}:{i}"):
            columns = line.split()
            if len(columns) != COLUMNS:
                raise InvalidArgument.of("", f"{len(columns)} columns", f"{COLUMNS} columns")
            class_id, confidence, *edges = numbers("", columns[1:]).tolist()
            if class_id not in CLASS_HINTS:
                raise InvalidArgument.of("class", f"{class_id:g}", "1 pedestrian, 2 car or 3 cyclist")
            proposal = Proposal(ImageBox(*edges), confidence, CLASS_HINTS[int(class_id)])
            found.append((PurePosixPath(columns[0]).stem, proposal))
    return found


def format_detections(detections: Mapping[str, Iterable[Proposal]]) -> list[str]:
    """Return the lines of detections by frame id.

    Raises InvalidArgument for a proposal without confidence or whose hint is none of the three classes.
    """
    class_ids = {hint: class_id for class_id, hint in CLASS_HINTS.items()}
    lines = []
    for frame_id, proposals in detections.items():
        for i, proposal in enumerate(proposals):
            with within(f"{frame_id}[{i}]"):
                if proposal.confidence is None:
                    raise InvalidArgument.of("confidence", "unknown", "in [0, 1]")
                if proposal.class_hint not in class_ids:
                    raise InvalidArgument.of("class_hint", repr(proposal.class_hint), f"one of {', '.join(class_ids)}")
            box = proposal.box
            edges = f"{box.left_px:.1f} {box.top_px:.1f} {box.right_px:.1f} {box.bottom_px:.1f}"
            image = f"training/image_2/{frame_id}.png"
            lines.append(f"{image} {class_ids[proposal.class_hint]} {proposal.confidence:.6f} {edges}")
    return lines
