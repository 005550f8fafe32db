"""Label files as people hand them in: all read before anything is sent, and each fault told by file and line."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import typer

from quandary import FrameLabels, InvalidArgument, QuandaryError, Unavailable
from quandary.errors import Violation
from quandary_server.cli.output import err, print_error
from quandary_server.datasets.files import training_file
from quandary_server.datasets.kitti import KittiFolder

__all__ = [
    "LabelFiles",
    "ReadFile",
    "UnchangedOption",
    "few_of",
    "located",
    "read_label_files",
    "tell_refused",
    "tell_untouched",
]

UnchangedOption = Annotated[bool, typer.Option("--unchanged", help="hand in pre-labels that nobody changed, too")]

MOST_NAMED = 5


@dataclass(frozen=True)
class ReadFile:
    """The labels of a file; lines: where each stands, `label_2/000002.txt:3`."""

    labels: FrameLabels
    lines: Sequence[str]


@dataclass(frozen=True)
class LabelFiles:
    """By frame id: the files that can be handed in, and what is wrong with the others. missing: frames without a file."""

    read: Mapping[str, ReadFile] = field(default_factory=dict)
    faults: Mapping[str, QuandaryError] = field(default_factory=dict)
    missing: Sequence[str] = ()


def read_label_files(dataset: KittiFolder, frame_ids: Iterable[str]) -> LabelFiles:
    """Read the label files of frames, and look for what cannot be without the frames' clouds: what no class measures, twins."""
    from quandary_server.datasets.plausibility import check_plausible  # shapely is for who reads labels

    read: dict[str, ReadFile] = {}
    faults: dict[str, QuandaryError] = {}
    missing = []
    for frame_id in frame_ids:
        if not training_file(dataset.root, "label_2", frame_id, ".txt")[0].exists():
            missing.append(frame_id)
            continue
        try:
            labels, lines = dataset.labels(frame_id)
            try:
                check_plausible(labels.labels, None)
            except InvalidArgument as error:
                raise located(error, "", lines) from None
        except QuandaryError as error:
            faults[frame_id] = error
        except OSError as error:
            faults[frame_id] = Unavailable(f"{error.filename}: {error.strerror}")
        else:
            read[frame_id] = ReadFile(labels, lines)
    return LabelFiles(read, faults, missing)


def located(error: InvalidArgument, path: str, lines: Sequence[str]) -> InvalidArgument:
    """Return the error with file and line in place of `labels[i]` below `path`."""
    label = re.compile(rf"{re.escape(path)}labels\[(\d+)\]")

    def in_lines(text: str) -> str:
        return label.sub(lambda found: lines[int(found[1])] if int(found[1]) < len(lines) else found[0], text)

    wrong = [Violation(in_lines(v.field), in_lines(v.value), v.bound) for v in error.violations]
    return InvalidArgument(in_lines(error.message), violations=wrong)


def tell_refused(refused: Mapping[str, QuandaryError], missing: Sequence[str], unknown: Sequence[str] = ()) -> None:
    """Print why each frame was refused; those without a label file, and those that no task knows, in a line each."""
    for frame_id, error in refused.items():
        err.print(f"{frame_id} refused:")
        print_error(error)
    for frame_ids, problem in ((missing, "without a label file"), (unknown, "refused, which the fleet log never brought")):
        if frame_ids:
            err.print(f"{len(frame_ids)} {problem}: {few_of(frame_ids)}")


def tell_untouched(frame_ids: Sequence[str]) -> None:
    """Print which frames were left out, and what to do about it."""
    if frame_ids:
        err.print(
            f"{len(frame_ids)} left out, since nobody changed their pre-labels (if they are right: --unchanged): "
            + ", ".join(frame_ids)
        )


def few_of(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
