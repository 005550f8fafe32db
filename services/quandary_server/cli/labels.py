"""quandary labels import | export | list: labels without leases."""

import csv
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quandary.convert import frame_labels, record
from quandary.v1 import labels_pb2
from quandary_server.cli.frames import FolderArgument, SplitOption
from quandary_server.cli.output import err, print_json, print_table, progress_bar
from quandary_server.cli.session import DataOption, JsonOption, labelling_client, settings_of

if TYPE_CHECKING:
    from quandary_server.datasets.index import FrameEntry

app = typer.Typer(help="Bring labels in and out, and list those there are.", no_args_is_help=True)

BATCH = 100
PROVENANCE = "provenance.csv"
SWEEP_PERIOD = timedelta(milliseconds=100)


@app.command("import")
def import_(
    folder: FolderArgument,
    split: SplitOption = None,
    frame: Annotated[list[str] | None, typer.Option("--frame", help="only these frames; may be repeated")] = None,
    data: DataOption = None,
) -> None:
    """Import the labels of a KITTI folder (label_2) for frames that the fleet log brought. Their waiting tasks are closed."""
    from quandary_server.datasets.kitti import KittiFolder

    dataset = KittiFolder(folder)
    ids = frame or [entry.frame_id for entry in dataset.frames(split)]
    stored = unchanged = 0
    try:
        with labelling_client(settings_of(data)) as client, progress_bar("importing", len(ids)) as advance:
            for start in range(0, len(ids), BATCH):
                batch = [dataset.labels(frame_id) for frame_id in ids[start : start + BATCH]]
                done = client.submit_labels(batch)
                stored, unchanged = stored + done.stored_frames, unchanged + done.unchanged_frames
                advance(start + len(batch))
    finally:
        # a batch that is refused takes none back that came before it
        err.print(f"{stored} frames stored, {unchanged} had these labels already")


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
            "control" if f.control else "active",
            ", ".join(sorted(label.class_name for label in f.labels)) or "nothing",
            f.labeller,
            _time(f),
            f.prelabel_generation or "-",
            f"{f.time_spent.ToTimedelta().total_seconds():g}",
        )
        for f in frames
    ]
    columns = ["frame", "?drive", "queue", "~labels", "by", "?at (UTC)", "?pre-labels of", "?#seconds"]
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
    entries, told = [], []
    with labelling_client(settings_of(data)) as client:
        total = client.queue_stats("active").acknowledged + client.queue_stats("control").acknowledged
        with progress_bar("exporting", total) as advance:
            for answer in client.stream_labelled_frames():
                points = _export_frame(folder, answer, clouds=clouds)
                entries.append((answer, points))
                told.append(answer.frame)
                advance(len(entries))
    write_index(folder, _index(entries))
    _write_provenance(folder / PROVENANCE, told)
    err.print(f"{len(entries)} labelled frames in {folder}")


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


def _write_provenance(path: Path, frames: Iterable[labels_pb2.FrameLabels]) -> None:
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "drive", "labeller", "label_time", "prelabel_generation", "seconds_spent", "labels"])
        for f in frames:
            seconds = f"{f.time_spent.ToTimedelta().total_seconds():g}"
            time = f.label_time.ToJsonString()
            table.writerow([f.frame_id, f.drive_id, f.labeller, time, f.prelabel_generation, seconds, len(f.labels)])


def _time(frame: labels_pb2.FrameLabels) -> str:
    return frame.label_time.ToDatetime().isoformat(sep=" ", timespec="seconds")
