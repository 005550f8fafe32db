"""quandary queue skip: a leased task given up, for good or for others to try."""

from enum import StrEnum
from typing import Annotated

import typer

from quandary.v1 import queue_pb2
from quandary_server.cli import lease_folder
from quandary_server.cli.output import out
from quandary_server.cli.queue_options import FrameArgument, LeasedOption, QueueOption, TokenOption, held_tasks
from quandary_server.cli.session import DataOption, labelling_client, settings_of

SkipReasonName = StrEnum("SkipReasonName", ["unreadable", "nothing_to_label", "ambiguous", "duplicate", "not_allowed", "other"])
RequeueName = StrEnum("RequeueName", ["never", "anybody", "others"])


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(skip)


def skip(
    frame: FrameArgument,
    reason: Annotated[SkipReasonName, typer.Option(help="why")],
    lease_token: TokenOption = None,
    leased: LeasedOption = None,
    comment: Annotated[str, typer.Option(help="in words; needed for `other`")] = "",
    requeue: Annotated[
        RequeueName, typer.Option(help="who may get it next: nobody, anybody, or others than the token's subject")
    ] = RequeueName.never,
    queue: QueueOption = "active",
    data: DataOption = None,
) -> None:
    """Give a leased task up, by default for good: FRAME with --lease-token, or FRAME of --leased."""
    (task,), source = held_tasks(frame, lease_token, leased, queue)
    number = queue_pb2.SkipReason.Value(f"SKIP_REASON_{reason.value.upper()}")
    policy = queue_pb2.RequeuePolicy.Value(f"REQUEUE_POLICY_{requeue.value.upper()}")
    with labelling_client(settings_of(data)) as client:
        after = client.skip_task(task.name, task.token, number, comment, requeue=policy)
    if source is not None:
        lease_folder.update_held(source, {task.name: None})
    out.print(f"{frame} skipped: {reason.value}{_what_next(after.state, requeue)}")


def _what_next(state: queue_pb2.TaskState.ValueType, requeue: RequeueName) -> str:
    if state == queue_pb2.TASK_STATE_WAITING:
        return f"; it waits for {requeue.value}"
    if state == queue_pb2.TASK_STATE_DEAD_LETTER:
        return "; nobody is left who may label it, so that it is a dead letter"
    return ""
