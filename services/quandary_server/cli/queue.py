"""quandary queue ...: what labelling ops do."""

from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from quandary.names import task_name
from quandary.v1 import queue_pb2
from quandary_server.cli import queue_hold, queue_lease, queue_watch
from quandary_server.cli.output import err, out, print_json, print_table
from quandary_server.cli.queue_options import FrameArgument, QueueOption, QueuesOption
from quandary_server.cli.queue_watch import counts_of, rank_of, score_of
from quandary_server.cli.session import DataOption, JsonOption, check_file, labelling_client, settings_of

app = typer.Typer(help="Lease tasks from the ranked queue, and hand them back.", no_args_is_help=True)
queue_lease.add_to(app)
queue_hold.add_to(app)
queue_watch.add_to(app)

TokenOption = Annotated[str, typer.Option("--lease-token", help="the lease token that `queue lease` gave")]

TaskStateName = StrEnum("TaskStateName", ["waiting", "leased", "acknowledged", "skipped", "dead_letter"])
SkipReasonName = StrEnum("SkipReasonName", ["unreadable", "nothing_to_label", "ambiguous", "duplicate", "not_allowed", "other"])
RequeueName = StrEnum("RequeueName", ["never", "anybody", "others"])
BandName = StrEnum("BandName", ["safety", "campaign", "active_learning"])

CommentOption = Annotated[str, typer.Option(help="why, for the audit")]


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


@app.command()
def requeue(frame: FrameArgument, comment: CommentOption = "", queue: QueueOption = "active", data: DataOption = None) -> None:
    """Let a task that was skipped for good, or is a dead letter, wait again. Needs the role admin."""
    with labelling_client(settings_of(data)) as client:
        client.requeue_task(task_name(queue, frame), comment)
    out.print(f"{frame} waits again")


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
        if frame and not events:
            client.get_task(task_name(queue, frame))  # raises for a task that there is not
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
def stats(queue: QueuesOption = None, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Count the queues."""
    with labelling_client(settings_of(data)) as client:
        queues = counts_of(client, queue or ())
    if as_json:
        print_json(queues)
        return
    columns = ["queue", "#waiting", "#folded", "#leased", "#acked", "#skipped", "#dead", "#unscored", "#behind"]
    print_table(columns, map(_counts, queues), empty="no queues")
    for log in queues[:1]:
        # figures of the log, the same in every queue
        out.print(f"fleet log: {log.log_lag} records waiting, {log.rejected_records} rejected")


def _counts(queue: queue_pb2.QueueStats) -> tuple[object, ...]:
    return (
        queue.name.removeprefix("queues/"),
        queue.waiting,
        queue.folded,
        queue.leased,
        queue.acknowledged,
        queue.skipped,
        queue.dead_letter,
        queue.unscored,
        queue.behind,
    )
