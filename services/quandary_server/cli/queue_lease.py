"""quandary queue lease: tasks out to a labeller."""

from collections.abc import Iterable
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from quandary import LabellingClient
from quandary.v1 import queue_pb2
from quandary_server.cli import lease_folder
from quandary_server.cli.label_files import few_of
from quandary_server.cli.output import err, out, print_error, print_json, print_table, progress_bar
from quandary_server.cli.queue_options import QueueOption
from quandary_server.cli.queue_watch import score_of
from quandary_server.cli.session import DataOption, JsonOption, labelling_client, settings_of

ExportFormat = StrEnum("ExportFormat", ["kitti"])


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(lease)


def lease(
    count: Annotated[int, typer.Option("-n", min=1, max=100, help="how many tasks")] = 1,
    queue: QueueOption = "active",
    minutes: Annotated[float, typer.Option(min=1 / 60, max=1440, help="for how long")] = 15.0,
    export: Annotated[
        tuple[ExportFormat, Path] | None,
        typer.Option(metavar="kitti DIR", help="write clouds, images, pre-labels and tokens to an empty or missing folder"),
    ] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Lease the first tasks. Keep the lease tokens, with --export (then `ack --labels DIR` knows them) or with --json."""
    folder = export[1] if export else None
    if folder and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise typer.BadParameter(f"{folder} is not an empty folder", param_hint="--export")
    if folder:
        folder.mkdir(parents=True, exist_ok=True)  # before tasks are held for a place that cannot be written
    with labelling_client(settings_of(data)) as client:
        tasks = client.lease_tasks(queue, count, timedelta(minutes=minutes))
        failed = _export(client, folder, tasks) if folder and tasks else []
    tasks = [task for task in tasks if task.frame_id not in failed]
    if as_json:
        print_json(tasks)
        raise typer.Exit(int(bool(failed)))
    tokens = [] if folder else ["lease token"]
    rows = [(t.frame_id, t.drive_id, score_of(t), t.crops, *(t.lease.token for _ in tokens), t.reason) for t in tasks]
    columns = ["frame", "drive", "#score", "#crops", *tokens, "~why"]
    print_table(columns, rows, empty="nothing was leased" if failed else f"the queue {queue} is empty")
    if folder and (blind := lease_folder.without_image(folder, tasks)):
        err.print(f"{len(blind)} without their camera images, which cannot be read from here: {few_of(blind)}")
    if folder and tasks:
        out.print(f"Label in {folder}/training/label_2 within {minutes:g} minutes, then: quandary queue ack --labels {folder}")
    raise typer.Exit(int(bool(failed)))


def _export(client: LabellingClient, folder: Path, tasks: Iterable[queue_pb2.Task]) -> list[str]:
    """Write the tasks out; give those back that cannot be, and return their frame ids."""
    found = list(tasks)
    with progress_bar("exporting", len(found)) as advance:
        failed = lease_folder.write_leased(folder, found, advance)
    for task, error in failed:
        err.print(f"{task.frame_id} cannot be written, and is given back:")
        print_error(error)
        client.release_task(task.name, task.lease.token)
    return [task.frame_id for task, _ in failed]
