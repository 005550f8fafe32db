"""What the frames of a folder are, as a digest: another index, labels or detections give other crops."""

import hashlib
from pathlib import Path

from quandary.errors import InvalidArgument
from quandary_server.datasets.detections import PATTERN
from quandary_server.datasets.files import read_lines, training_file
from quandary_server.datasets.kitti import KittiFolder

READ = (("label_2", ".txt"), ("calib", ".txt"))
CLOUD, IMAGE = ("velodyne", ".bin"), ("image_2", ".png")


def folder_digest(root: Path) -> str:
    """Return the SHA-256, hexadecimal, of index, labels, calibrations, detections, and of the sizes of clouds and images.

    The same frames in another place have the same digest. Raises InvalidArgument, named by file, for a missing or malformed
    file.
    """
    digest = hashlib.sha256()
    for path in sorted(root.rglob(PATTERN)):
        digest.update(f"{path.relative_to(root)} {path.read_text()}\n".encode())
    for entry in KittiFolder(root).frames():
        parts: list[object] = [entry]
        parts += [read_lines(*training_file(root, kind, entry.frame_id, suffix)) for kind, suffix in READ]
        parts += [_size(root, entry.frame_id, *CLOUD), _size(root, entry.frame_id, *IMAGE, optional=True)]
        digest.update(f"{parts}\n".encode())
    return digest.hexdigest()


def _size(root: Path, frame_id: str, kind: str, suffix: str, *, optional: bool = False) -> int | None:
    path, name = training_file(root, kind, frame_id, suffix)
    if path.is_file():
        return path.stat().st_size
    if optional:
        return None
    raise InvalidArgument.of(name, "missing", "a file")
