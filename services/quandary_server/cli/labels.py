"""quandary labels import | export | list: labels without leases."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quandary import InvalidArgument, LabellingClient, NotFound, QuandaryError
from quandary.convert import frame_labels, record
from quandary.v1 import labels_pb2
from quandary_server.cli import lease_folder, provenance
from quandary_server.cli.frames import FolderArgument, SplitOption
from quandary_server.cli.label_files import (
    ReadFile,
    UnchangedOption,
    located,
    read_label_files,
    tell_refused,
    tell_untouched,
)
from quandary_server.cli.lease_folder import untouched
from quandary_server.cli.output import err, print_json, print_table, progress_bar
from quandary_server.cli.session import DataOption, JsonOption, labelling_client, settings_of

if TYPE_CHECKING:
    from quandary_server.datasets.index import FrameEntry

app = typer.Typer(help="Bring labels in and out, and list those there are.", no_args_is_help=True)

BATCH = 100
SWEEP_PERIOD = timedelta(milliseconds=100)


@app.command("import")
def import_(
    folder: FolderArgument,
    split: SplitOption = None,
    frame: Annotated[list[str] | None, typer.Option("--frame", help="only these frames; may be repeated")] = None,
    unchanged: UnchangedOption = False,
    data: DataOption = None,
) -> None:
    """Import the labels of a KITTI folder (label_2, calib) for frames that the fleet log brought. Their open tasks are closed.

    All label files are read before the first is stored. A file that is refused is named with the line, and holds up no other.
    How long it took and whose boxes were shown is kept where the folder tells it, by the provenance.csv of an export or the
    leases.json of a lease. Of the latter, pre-labels that nobody changed are left out, as by `queue ack`.
    """
    from quandary_server.datasets.kitti import KittiFolder

    dataset, known = KittiFolder(folder), provenance.of_folder(folder)
    ids = list(dict.fromkeys(frame)) if frame else [entry.frame_id for entry in dataset.frames(split)]
    left = set() if unchanged else {task.frame_id for task in lease_folder.held_in(folder) if untouched(folder, task)} & {*ids}
    files = read_label_files(dataset, [frame_id for frame_id in ids if frame_id not in left])
    found = {frame_id: known[frame_id].told(file) if frame_id in known else file for frame_id, file in files.read.items()}
    done = Imported()
    try:
        with labelling_client(settings_of(data)) as client, progress_bar("importing", len(found)) as advance:
            for start in range(0, len(found), BATCH):
                done.submit(client, list(found.values())[start : start + BATCH])
                advance(start + BATCH)
    finally:
        # what is refused takes nothing back that came before it
        tell_refused({**files.faults, **done.refused}, files.missing, done.unknown)
        tell_untouched(sorted(left))
        others = f", {done.replaced} of them in place of other labels" if done.replaced else ""
        err.print(f"{done.stored} frames stored{others}; {done.unchanged} had these labels already")
    raise typer.Exit(int(bool(files.faults or files.missing or left or done.refused or done.unknown)))


@dataclass
class Imported:
    """What an import came to so far."""

    stored: int = 0
    unchanged: int = 0
    replaced: int = 0
    refused: dict[str, QuandaryError] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    def submit(self, client: LabellingClient, files: Sequence[ReadFile]) -> None:
        """Submit files together; where that is refused, each for itself, so that one costs the others nothing."""
        try:
            answer = client.submit_labels([file.labels for file in files])
        except (InvalidArgument, NotFound) as error:
            if len(files) > 1:
                for file in files:
                    self.submit(client, [file])
                return
            (file,) = files
            if isinstance(error, NotFound):
                self.unknown.append(file.labels.frame_id)
            else:
                self.refused[file.labels.frame_id] = located(error, "frames[0].", file.lines)
        else:
            self.stored += answer.stored_frames
            self.unchanged += answer.unchanged_frames
            self.replaced += answer.replaced_frames


@app.command("list")
def list_(
    count: Annotated[int, typer.Option("-n", min=1, help="how many")] = 20, data: DataOption = None, as_json: JsonOption = False
) -> None:
    """List labelled frames, oldest first."""
    with labelling_client(settings_of(data)) as client:
        pages = client.list_frame_labels(page_size=min(count, 500))
        frames = [frame for frame, _ in zip(pages, range(count), strict=False)]
    if as_json:
        print_json(frames)
        return
    rows = [
        (
            f.frame_id,
            f.drive_id,
            "judging" if f.control else "training",
            ", ".join(sorted(label.class_name for label in f.labels)) or "nothing",
            f.labeller,
            _time(f),
            f.prelabel_generation or "-",
            f"{f.time_spent.ToTimedelta().total_seconds():g}",
        )
        for f in frames
    ]
    columns = ["frame", "?drive", "?for", "~labels", "by", "?at (UTC)", "?pre-labels of", "?#seconds"]
    print_table(columns, rows, empty="no labels yet")


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="folder to write; must be empty or missing", file_okay=False)],
    clouds: Annotated[bool, typer.Option("--clouds", help="copy the clouds, too")] = False,
    data: DataOption = None,
) -> None:
    """Write all labels in the KITTI layout (label_2 and calib), so that `labels import` reads back the same.

    frames.csv tells drives and splits, provenance.csv who labelled what, when, for how long and shown whose boxes.
    """
    from quandary_server.datasets.index import write_index

    if folder.exists() and any(folder.iterdir()):
        raise typer.BadParameter(f"{folder} is not empty", param_hint="FOLDER")
    # by frame: labels that are replaced meanwhile come once more
    found: dict[str, tuple[labels_pb2.StreamFrameLabelsResponse, int]] = {}
    with labelling_client(settings_of(data)) as client:
        total = sum(queue.acknowledged for queue in client.list_queues())
        with progress_bar("exporting", total) as advance:
            for answer in client.stream_labelled_frames():
                points = _export_frame(folder, answer, clouds=clouds)
                found[answer.frame.frame_id] = (answer, points)
                advance(len(found))
    write_index(folder, _index(found.values()))
    provenance.write(folder, [answer.frame for answer, _ in found.values()])
    err.print(f"{len(found)} labelled frames in {folder}")


def _export_frame(folder: Path, answer: labels_pb2.StreamFrameLabelsResponse, *, clouds: bool) -> int:
    """Write one frame; return its points, 0 without its cloud."""
    from quandary_server.datasets.clouds import write_cloud
    from quandary_server.datasets.files import training_file
    from quandary_server.datasets.writing import write_labels
    from quandary_server.storage.blobs import read_cloud

    frame = record(answer.record)
    write_labels(folder, frame_labels(answer.frame), frame.calibration)
    if not clouds:
        return 0
    points = read_cloud(frame.cloud_uri)
    write_cloud(training_file(folder, "velodyne", frame.frame_id, ".bin")[0], points)
    return len(points)


def _index(frames: Iterable[tuple[labels_pb2.StreamFrameLabelsResponse, int]]) -> "list[FrameEntry]":
    """Return the rows of frames.csv, drive by drive; raw frames count sweeps at 10 Hz from the first that is there."""
    from quandary_server.datasets.index import FrameEntry

    found = [(answer.frame, record(answer.record), points) for answer, points in frames]
    found.sort(key=lambda row: (row[1].drive_id, row[1].stamp, row[1].frame_id))
    first = {frame.drive_id: frame.stamp for _, frame, _ in reversed(found)}
    return [
        FrameEntry(
            frame.frame_id,
            frame.drive_id,
            round((frame.stamp - first[frame.drive_id]) / SWEEP_PERIOD),
            points,
            split="control" if labelled.control else "pool",
            ego_pose=frame.ego_pose,
        )
        for labelled, frame, points in found
    ]


def _time(frame: labels_pb2.FrameLabels) -> str:
    return frame.label_time.ToDatetime().isoformat(sep=" ", timespec="seconds")
