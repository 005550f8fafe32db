"""quandary queue ...: what labelling ops do."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from quandary import FrameLabels, LabellingClient, QuandaryError, Unavailable
from quandary.names import task_name
from quandary.v1 import queue_pb2
from quandary_server.cli import lease_folder, queue_watch
from quandary_server.cli.lease_folder import LEASES, Held
from quandary_server.cli.output import err, out, print_error, print_json, print_table, progress_bar
from quandary_server.cli.queue_watch import rank_of, score_of
from quandary_server.cli.session import DataOption, JsonOption, check_file, labelling_client, settings_of

app = typer.Typer(help="Lease tasks from the ranked queue, and hand them back.", no_args_is_help=True)
queue_watch.add_to(app)

QueueOption = Annotated[str, typer.Option("--queue", help="active or control")]
FrameArgument = Annotated[str, typer.Argument(metavar="FRAME", help="frame id of the task")]
TokenOption = Annotated[str, typer.Option("--lease-token", help="the lease token that `queue lease` gave")]

TaskStateName = StrEnum("TaskStateName", ["waiting", "leased", "acknowledged", "skipped", "dead_letter"])
SkipReasonName = StrEnum("SkipReasonName", ["unreadable", "nothing_to_label", "ambiguous", "duplicate", "not_allowed", "other"])
RequeueName = StrEnum("RequeueName", ["never", "anybody", "others"])
BandName = StrEnum("BandName", ["safety", "campaign", "active_learning"])
ExportFormat = StrEnum("ExportFormat", ["kitti"])

CommentOption = Annotated[str, typer.Option(help="why, for the audit")]


@app.command()
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


@app.command()
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
        raise typer.BadParameter(f"give FRAME with --lease-token, or --leased, or a folder with {LEASES}")
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


@app.command()
def skip(
    frame: FrameArgument,
    lease_token: TokenOption,
    reason: Annotated[SkipReasonName, typer.Option(help="why")],
    comment: Annotated[str, typer.Option(help="in words; needed for `other`")] = "",
    requeue: Annotated[
        RequeueName, typer.Option(help="who may get it next: nobody, anybody, or others than the token's subject")
    ] = RequeueName.never,
    queue: QueueOption = "active",
    data: DataOption = None,
) -> None:
    """Give a leased task up, by default for good."""
    number = queue_pb2.SkipReason.Value(f"SKIP_REASON_{reason.value.upper()}")
    policy = queue_pb2.RequeuePolicy.Value(f"REQUEUE_POLICY_{requeue.value.upper()}")
    with labelling_client(settings_of(data)) as client:
        client.skip_task(task_name(queue, frame), lease_token, number, comment, requeue=policy)
    out.print(f"{frame} skipped: {reason.value}" + ("" if requeue is RequeueName.never else f"; it waits for {requeue.value}"))


@app.command()
def release(frame: FrameArgument, lease_token: TokenOption, queue: QueueOption = "active", data: DataOption = None) -> None:
    """Give a leased task back; it waits again at once."""
    with labelling_client(settings_of(data)) as client:
        client.release_task(task_name(queue, frame), lease_token)
    out.print(f"{frame} released")


@app.command()
def pin(frame: FrameArgument, comment: CommentOption = "", queue: QueueOption = "active", data: DataOption = None) -> None:
    """Put a waiting task in front of all that are not pinned. Needs the role admin."""
    with labelling_client(settings_of(data)) as client:
        client.pin_task(task_name(queue, frame), True, comment)
    out.print(f"{frame} pinned")


@app.command()
def unpin(frame: FrameArgument, comment: CommentOption = "", queue: QueueOption = "active", data: DataOption = None) -> None:
    """Take a task's pin away. Needs the role admin."""
    with labelling_client(settings_of(data)) as client:
        client.pin_task(task_name(queue, frame), False, comment)
    out.print(f"{frame} unpinned")


@app.command()
def band(
    frame: FrameArgument,
    band: Annotated[BandName, typer.Argument(help="what stands in front of what; safety is first")],
    comment: CommentOption = "",
    queue: QueueOption = "active",
    data: DataOption = None,
) -> None:
    """Move a waiting task to a priority band. Needs the role admin. Lower bands that wait get a share of the leases."""
    number = queue_pb2.PriorityBand.Value(f"PRIORITY_BAND_{band.value.upper()}")
    with labelling_client(settings_of(data)) as client:
        client.set_task_band(task_name(queue, frame), number, comment)
    out.print(f"{frame} is in the {band.value} band")


@app.command("list")
def list_(
    queue: QueueOption = "active",
    state: Annotated[TaskStateName, typer.Option(help="tasks in this state")] = TaskStateName.waiting,
    count: Annotated[int, typer.Option("-n", min=1, help="how many")] = 20,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List tasks in lease order."""
    number = queue_pb2.TaskState.Value(f"TASK_STATE_{state.value.upper()}")
    with labelling_client(settings_of(data)) as client:
        pages = client.list_tasks(queue, state=number, page_size=min(count, 500))
        tasks = [task for task, _ in zip(pages, range(count), strict=False)]
    if as_json:
        print_json(tasks)
        return
    rows = [(rank_of(t), t.frame_id, t.drive_id, score_of(t), t.crops, t.generation, t.reason) for t in tasks]
    print_table(
        ["#rank", "frame", "?drive", "#score", "#crops", "?generation", "~why"], rows, empty=f"no task is {state.value}"
    )


@app.command()
def why(
    frame: FrameArgument,
    queue: QueueOption = "active",
    png: Annotated[Path | None, typer.Option("--png", help="draw it from above into this file")] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show why a task is asked for: every object with its class and uncertainty, in words and as a picture."""
    from quandary_server.cli import birds_eye
    from quandary_server.storage.blobs import read_cloud

    check_file(png, "--png")
    with labelling_client(settings_of(data)) as client:
        task = client.get_task(task_name(queue, frame))
    if png is not None:
        birds_eye.draw(png, task, read_cloud(task.record.cloud_uri))
        err.print(f"drawn: {png}")
    if as_json:
        print_json(task)
        return
    for sentence in (task.reason, *birds_eye.told(task)):
        out.print(escape(sentence))
    rows = [
        (
            found.proposal_index,
            found.predicted_class,
            f"{max(found.class_probabilities, default=0.0):.0%}",
            f"{found.score:.3f}",
            f"{found.class_uncertainty.predictive_entropy_nats:.3f}",
            f"{found.class_uncertainty.mutual_information_nats:.3f}",
            found.points,
        )
        for found in task.frame_score.objects
    ]
    columns = ["#object", "class", "#probability", "#score", "#entropy\n(nats)", "#disagreement\n(nats)", "#points"]
    print_table(columns, rows, empty="no object was scored")


@app.command()
def audit(
    frame: Annotated[str | None, typer.Argument(metavar="[FRAME]", help="frame id; by default all of them")] = None,
    count: Annotated[int, typer.Option("-n", min=1, help="how many")] = 50,
    queue: QueueOption = "active",
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell who did what to a task, when, and why it had its place then; oldest first."""
    with labelling_client(settings_of(data)) as client:
        found = client.list_audit_events(task_name(queue, frame) if frame else "", page_size=min(count, 500))
        events = list(islice(found, count))
    if as_json:
        print_json(events)
        return
    rows = [
        (
            event.time.ToDatetime().isoformat(sep=" ", timespec="seconds"),
            event.subject or "-",
            event.action,
            event.task.removeprefix("queues/").replace("/tasks/", "/"),
            ", ".join(f"{name} {value}" for name, value in sorted(event.details.items()) if value),
        )
        for event in events
    ]
    print_table(["at (UTC)", "who", "what", "task", "~details"], rows, empty="nothing happened yet")


@app.command()
def stats(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Count the queues."""
    with labelling_client(settings_of(data)) as client:
        queues = client.list_queues()
    if as_json:
        print_json(queues)
        return
    columns = ["queue", "#waiting", "#leased", "#acked", "#skipped", "#dead", "#unscored", "#behind"]
    print_table(columns, map(_counts, queues), empty="no queues")
    for log in queues[:1]:
        # figures of the log, the same in every queue
        out.print(f"fleet log: {log.log_lag} records waiting, {log.rejected_records} rejected")


def _counts(queue: queue_pb2.QueueStats) -> tuple[object, ...]:
    return (
        queue.name.removeprefix("queues/"),
        queue.waiting,
        queue.leased,
        queue.acknowledged,
        queue.skipped,
        queue.dead_letter,
        queue.unscored,
        queue.behind,
    )
