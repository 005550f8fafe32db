"""quandary queue lease | ack: tasks out to a labeller, and back with labels."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from quandary import FrameLabels, LabellingClient, QuandaryError, Unavailable
from quandary.names import task_name
from quandary.v1 import queue_pb2
from quandary_server.cli import lease_folder
from quandary_server.cli.lease_folder import LEASES, Held
from quandary_server.cli.output import err, out, print_error, print_json, print_table, progress_bar
from quandary_server.cli.queue_options import QueueOption
from quandary_server.cli.queue_watch import score_of
from quandary_server.cli.session import DataOption, JsonOption, labelling_client, settings_of

ExportFormat = StrEnum("ExportFormat", ["kitti"])


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(lease)
    app.command()(ack)


def lease(
    count: Annotated[int, typer.Option("-n", min=1, max=100, help="how many tasks")] = 1,
    queue: QueueOption = "active",
    minutes: Annotated[float, typer.Option(min=1 / 60, max=1440, help="for how long")] = 15.0,
    export: Annotated[
        tuple[ExportFormat, Path] | None,
        typer.Option(metavar="kitti DIR", help="write clouds, pre-labels and lease tokens to an empty or missing folder"),
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


def ack(
    labels: Annotated[
        Path,
        typer.Option(
            "--labels",
            help="KITTI folder whose label_2 has the labels; one of `lease --export` needs nothing else",
            exists=True,
        ),
    ],
    frame: Annotated[str | None, typer.Argument(metavar="[FRAME]", help="frame id of the task")] = None,
    lease_token: Annotated[str | None, typer.Option("--lease-token", help="its lease token")] = None,
    leased: Annotated[
        Path | None, typer.Option("--leased", help="file with what `queue lease --json` printed; - is stdin")
    ] = None,
    unchanged: Annotated[bool, typer.Option("--unchanged", help="hand in pre-labels that nobody changed, too")] = False,
    seconds: Annotated[float, typer.Option(min=0, max=86_400, help="labelling time per frame, for the cost model")] = 0.0,
    queue: QueueOption = "active",
    data: DataOption = None,
) -> None:
    """Hand the labels of leased tasks in: of one FRAME with --lease-token, of all in --leased, or of all in an exported folder.

    All label files are read before the first is handed in. Frames whose pre-labels nobody changed are left out: a detector
    must not learn from itself.
    """
    if leased is None and frame is None and (labels / LEASES).is_file():
        leased = labels / LEASES
    if (leased is None) == (frame is None or lease_token is None):
        given = f"FRAME is {frame or 'unset'}, --lease-token {'set' if lease_token else 'unset'}, --leased {leased or 'unset'}"
        raise typer.BadParameter(f"{given}: give FRAME with --lease-token, or --leased, or --labels with {LEASES} in it")
    from quandary_server.datasets.kitti import KittiFolder

    held = lease_folder.read_held(leased) if leased else [Held(task_name(queue, frame or ""), frame or "", lease_token or "")]
    left = [task for task in held if not unchanged and lease_folder.untouched(labels, task)]
    dataset = KittiFolder(labels)
    found = [(task, _told(dataset.labels(task.frame_id), task, seconds)) for task in held if task not in left]
    with labelling_client(settings_of(data)) as client:
        refused = [task.frame_id for task, of_frame in found if not _acknowledge(client, task, of_frame)]
    if left:
        names = ", ".join(task.frame_id for task in left)
        err.print(f"{len(left)} left out, since nobody changed their pre-labels (if they are right: --unchanged): {names}")
    raise typer.Exit(int(bool(refused or left)))


def _told(labels: FrameLabels, task: Held, seconds: float) -> FrameLabels:
    return replace(labels, time_spent=timedelta(seconds=seconds), prelabel_generation=task.generation)


def _acknowledge(client: LabellingClient, task: Held, labels: FrameLabels) -> bool:
    """Hand the labels in; return whether they were taken: what one frame is refused for costs the others nothing."""
    try:
        client.acknowledge_task(task.name, task.token, labels)
    except Unavailable:
        raise
    except QuandaryError as error:
        err.print(f"{task.frame_id} refused:")
        print_error(error)
        return False
    out.print(f"{task.frame_id} acknowledged, {len(labels.labels)} labels")
    return True
