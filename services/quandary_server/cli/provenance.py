"""provenance.csv: who labelled which frame, when, for how long, and shown whose boxes."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from quandary import InvalidArgument
from quandary.errors import within
from quandary.v1 import labels_pb2
from quandary_server.cli import lease_folder
from quandary_server.cli.label_files import ReadFile
from quandary_server.datasets.files import numbers, read_lines

__all__ = ["PROVENANCE", "Provenance", "of_folder", "write"]

PROVENANCE = "provenance.csv"
MAX_SECONDS = 86_400 * 3650
COLUMNS = ("id", "drive", "labeller", "label_time", "prelabel_generation", "seconds_spent", "labels")


@dataclass(frozen=True)
class Provenance:
    """What a folder tells of labels beside the labels, and whoever hands them in may tell."""

    prelabel_generation: str = ""
    time_spent: timedelta = timedelta()

    def told(self, file: ReadFile) -> ReadFile:
        """Return the file with it."""
        labels = replace(file.labels, prelabel_generation=self.prelabel_generation, time_spent=self.time_spent)
        return replace(file, labels=labels)


def of_folder(folder: Path) -> Mapping[str, Provenance]:
    """Return what a folder tells of its frames' labels: an export of labels, or of leased tasks; nothing for any other.

    Raises InvalidArgument, named by file and line.
    """
    if (folder / PROVENANCE).is_file():
        return _parsed(read_lines(folder / PROVENANCE, PROVENANCE))
    return {task.frame_id: Provenance(task.generation) for task in lease_folder.held_in(folder)}


def write(folder: Path, frames: Iterable[labels_pb2.FrameLabels]) -> None:
    """Write the file of labelled frames."""
    with (folder / PROVENANCE).open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for f in frames:
            seconds = f"{f.time_spent.ToTimedelta().total_seconds():.6f}".rstrip("0").rstrip(".")
            time = f.label_time.ToJsonString()
            table.writerow([f.frame_id, f.drive_id, f.labeller, time, f.prelabel_generation, seconds, len(f.labels)])


def _parsed(lines: list[str]) -> dict[str, Provenance]:
    table = csv.DictReader(lines)
    if missing := [column for column in COLUMNS if column not in (table.fieldnames or ())]:
        raise InvalidArgument.of(f"{PROVENANCE}:1", f"without {', '.join(missing)}", f"columns {', '.join(COLUMNS)}")
    found = {}
    for row in table:
        with within(f"{PROVENANCE}:{table.line_num}"):
            if None in row or None in row.values():
                raise InvalidArgument.of("", "a row of another length", f"{len(COLUMNS)} columns")
            (seconds,) = numbers("seconds_spent", [row["seconds_spent"]]).tolist()
            if not 0 <= seconds <= MAX_SECONDS:
                raise InvalidArgument.of("seconds_spent", row["seconds_spent"], f"0 to {MAX_SECONDS}")
            found[row["id"]] = Provenance(row["prelabel_generation"], timedelta(seconds=seconds))
    return found
