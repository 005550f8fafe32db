"""The files of a KITTI folder, read by the name that errors show: `label_2/000002.txt`, and `:3` behind it for a line."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quandary.errors import InvalidArgument

TRAINING = "training"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def training_file(root: Path, kind: str, frame_id: str, suffix: str) -> tuple[Path, str]:
    """Return the path of a frame's file and the name that errors give it."""
    name = f"{kind}/{frame_id}{suffix}"
    return root / TRAINING / name, name


def read_lines(path: Path, name: str) -> list[str]:
    """Return the lines of a text file, without the byte order mark that some editors write before them.

    Raises InvalidArgument if it is missing or not UTF-8.
    """
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise InvalidArgument.of(name, "missing", "a file") from None
    if data.startswith(UTF_16):
        raise InvalidArgument.of(name, "UTF-16", "UTF-8 text")
    try:
        return data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidArgument.of(name, f"no UTF-8 at byte {error.start}", "UTF-8 text") from None


def numbers(name: str, texts: Iterable[str]) -> NDArray[np.float64]:
    """Return texts as finite numbers (N,); raises InvalidArgument with the first that is none."""
    values = []
    for text in texts:
        try:
            value = float(text)
        except ValueError:
            raise InvalidArgument.of(name, repr(text), "a number") from None
        if not np.isfinite(value):
            raise InvalidArgument.of(name, repr(text), "a finite number")
        values.append(value)
    return np.array(values, dtype=np.float64)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a text file whole or not at all, making the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torn = path.with_name(f".{path.name}.part")
    torn.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    torn.replace(path)
