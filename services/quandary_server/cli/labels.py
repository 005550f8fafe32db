"""quandary labels import | list: labels without leases."""

from typing import Annotated

import typer

from quandary import FrameLabels
from quandary_server.cli.frames import FolderArgument, SplitOption
from quandary_server.cli.output import err, print_json, print_table, progress_bar
from quandary_server.cli.session import DataOption, JsonOption, labelling_client, settings_of

app = typer.Typer(help="Bring labels in, and list those there are.", no_args_is_help=True)

BATCH = 100


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
    with labelling_client(settings_of(data)) as client, progress_bar("importing", len(ids)) as advance:
        for start in range(0, len(ids), BATCH):
            batch: list[FrameLabels] = [dataset.read(frame_id).labels for frame_id in ids[start : start + BATCH]]
            done = client.submit_labels(batch)
            stored, unchanged = stored + done.stored_frames, unchanged + done.unchanged_frames
            advance(start + len(batch))
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
            f.label_time.ToDatetime().isoformat(sep=" ", timespec="seconds"),
        )
        for f in frames
    ]
    print_table(["frame", "?drive", "queue", "~labels", "?by", "?at (UTC)"], rows, empty="no labels yet")
