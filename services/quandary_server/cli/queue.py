"""quandary queue ...: what labelling ops do."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from itertools import islice
from typing import Annotated

import typer

from quandary.names import task_name
from quandary.v1 import queue_pb2
from quandary_server.cli import queue_ack, queue_hold, queue_lease, queue_skip, queue_watch, queue_why
from quandary_server.cli.output import out, print_json, print_table
from quandary_server.cli.queue_options import FrameArgument, QueueOption, QueuesOption
from quandary_server.cli.queue_watch import counts_of, rank_of, score_of, skip_reason_of, time_of
from quandary_server.cli.session import DataOption, JsonOption, labelling_client, settings_of

app = typer.Typer(help="Lease tasks from the ranked queue, and hand them back.", no_args_is_help=True)
for module in (queue_lease, queue_ack, queue_skip, queue_hold, queue_watch, queue_why):
    module.add_to(app)

TaskStateName = StrEnum("TaskStateName", ["waiting", "leased", "acknowledged", "skipped", "dead_letter"])
BandName = StrEnum("BandName", ["safety", "campaign", "active_learning"])

OF_STATE: Mapping[TaskStateName, tuple[list[str], Callable[[queue_pb2.Task], tuple[object, ...]]]] = {
    TaskStateName.leased: (["holder", "ends (UTC)"], lambda task: (task.lease.holder, time_of(task.lease.expire_time))),
    TaskStateName.skipped: (["skipped as"], lambda task: (skip_reason_of(task),)),
    TaskStateName.dead_letter: (["#failed leases"], lambda task: (task.failed_leases,)),
}
"""What a list tells of the tasks in a state beside what it tells of all: names of columns, and their cells."""

CommentOption = Annotated[str, typer.Option(help="why, for the audit")]


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
    more, told = OF_STATE.get(state, ([], lambda _: ()))
    rows = [(rank_of(t), t.frame_id, t.drive_id, score_of(t), t.crops, *told(t), t.generation, t.reason) for t in tasks]
    columns = ["#rank", "frame", "?drive", "#score", "#crops", *more, "?generation", "~why"]
    print_table(columns, rows, empty=f"no task is {state.value}")


@app.command()
def audit(
    frame: Annotated[str | None, typer.Argument(metavar="FRAME", help="frame id; by default all of them")] = None,
    count: Annotated[int, typer.Option("-n", min=1, help="how many")] = 50,
    queue: QueueOption = "active",
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell who did what to a task, when, and why it had its place then: what happened last, oldest first."""
    with labelling_client(settings_of(data)) as client:
        name = task_name(queue, frame) if frame else ""
        found = client.list_audit_events(name, newest_first=True, page_size=min(count, 500))
        events = list(islice(found, count))[::-1]
        if frame and not events:
            client.get_task(task_name(queue, frame))  # raises for a task that there is not
    if as_json:
        print_json(events)
        return
    rows = [
        (
            time_of(event.time),
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
