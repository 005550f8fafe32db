"""quandary queue lease | ack | skip | release | list | why | stats: what labelling ops do."""

import json
import sys
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from quandary import InvalidArgument
from quandary.names import task_name
from quandary.v1 import queue_pb2
from quandary_server.cli.output import out, print_json, print_table
from quandary_server.cli.session import DataOption, JsonOption, labelling_client, settings_of

app = typer.Typer(help="Lease tasks from the ranked queue, and hand them back.", no_args_is_help=True)

QueueOption = Annotated[str, typer.Option("--queue", help="active or control")]
FrameArgument = Annotated[str, typer.Argument(metavar="FRAME", help="frame id of the task")]
TokenOption = Annotated[str, typer.Option("--lease-token", help="the lease token that `queue lease` gave")]

TaskStateName = StrEnum("TaskStateName", ["waiting", "leased", "acknowledged", "skipped", "dead_letter"])
SkipReasonName = StrEnum("SkipReasonName", ["unreadable", "nothing_to_label", "ambiguous", "duplicate", "not_allowed", "other"])


@app.command()
def lease(
    count: Annotated[int, typer.Option("-n", min=1, max=100, help="how many tasks")] = 1,
    queue: QueueOption = "active",
    minutes: Annotated[float, typer.Option(min=1 / 60, max=1440, help="for how long")] = 15.0,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Lease the first tasks. Keep what --json prints: it holds the lease tokens that `ack --leased` needs."""
    with labelling_client(settings_of(data)) as client:
        tasks = client.lease_tasks(queue, count, timedelta(minutes=minutes))
    if as_json:
        print_json(tasks)
        return
    rows = [(t.frame_id, t.drive_id, _score(t), t.crops, t.lease.token, t.reason) for t in tasks]
    columns = ["frame", "drive", "#score", "#crops", "lease token", "~why"]
    print_table(columns, rows, empty=f"the queue {queue} is empty")


@app.command()
def ack(
    labels: Annotated[Path, typer.Option("--labels", help="KITTI folder whose label_2 has the labels", exists=True)],
    frame: Annotated[str | None, typer.Argument(metavar="[FRAME]", help="frame id of the task")] = None,
    lease_token: Annotated[str | None, typer.Option("--lease-token", help="its lease token")] = None,
    leased: Annotated[
        Path | None, typer.Option("--leased", help="file with what `queue lease --json` printed; - is stdin")
    ] = None,
    queue: QueueOption = "active",
    data: DataOption = None,
) -> None:
    """Hand the labels of leased tasks in: of one FRAME with --lease-token, or of all in --leased."""
    if (leased is None) == (frame is None or lease_token is None):
        raise typer.BadParameter("give either FRAME with --lease-token, or --leased")
    from quandary_server.datasets.kitti import KittiFolder

    held = _read_leased(leased) if leased else [(task_name(queue, frame or ""), frame or "", lease_token or "")]
    dataset = KittiFolder(labels)
    with labelling_client(settings_of(data)) as client:
        for name, frame_id, token in held:
            client.acknowledge_task(name, token, dataset.read(frame_id).labels)
            out.print(f"{frame_id} acknowledged")


@app.command()
def skip(
    frame: FrameArgument,
    lease_token: TokenOption,
    reason: Annotated[SkipReasonName, typer.Option(help="why")],
    comment: Annotated[str, typer.Option(help="in words; needed for `other`")] = "",
    queue: QueueOption = "active",
    data: DataOption = None,
) -> None:
    """Give a leased task up for good."""
    number = queue_pb2.SkipReason.Value(f"SKIP_REASON_{reason.value.upper()}")
    with labelling_client(settings_of(data)) as client:
        client.skip_task(task_name(queue, frame), lease_token, number, comment)
    out.print(f"{frame} skipped: {reason.value}")


@app.command()
def release(frame: FrameArgument, lease_token: TokenOption, queue: QueueOption = "active", data: DataOption = None) -> None:
    """Give a leased task back; it waits again at once."""
    with labelling_client(settings_of(data)) as client:
        client.release_task(task_name(queue, frame), lease_token)
    out.print(f"{frame} released")


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
    rows = [(_rank(t), t.frame_id, t.drive_id, _score(t), t.crops, t.generation, t.reason) for t in tasks]
    print_table(
        ["#rank", "frame", "?drive", "#score", "#crops", "?generation", "~why"], rows, empty=f"no task is {state.value}"
    )


@app.command()
def why(frame: FrameArgument, queue: QueueOption = "active", data: DataOption = None, as_json: JsonOption = False) -> None:
    """Show why a task is asked for: every object with its class and uncertainty."""
    with labelling_client(settings_of(data)) as client:
        task = client.get_task(task_name(queue, frame))
    if as_json:
        print_json(task)
        return
    out.print(escape(task.reason))
    rows = [
        (
            found.proposal_index,
            found.predicted_class,
            f"{max(found.class_probabilities):.0%}",
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
def stats(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Count the queues."""
    with labelling_client(settings_of(data)) as client:
        queues = client.list_queues()
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


def _read_leased(path: Path) -> list[tuple[str, str, str]]:
    try:
        match json.loads(sys.stdin.read() if str(path) == "-" else path.read_text()):
            case [*tasks]:
                return [_held(task) for task in tasks]
    except (ValueError, RecursionError):
        pass
    raise InvalidArgument.of("--leased", str(path), "what `quandary queue lease --json` printed")


def _held(task: object) -> tuple[str, str, str]:
    match task:
        case {"name": str(name), "frame_id": str(frame_id), "lease": {"token": str(token)}}:
            return name, frame_id, token
    raise ValueError("no leased task")


def _score(task: queue_pb2.Task) -> str:
    return f"{task.score:.4f}" if task.HasField("score") else "-"


def _rank(task: queue_pb2.Task) -> str:
    return str(task.rank) if task.HasField("rank") else "-"
