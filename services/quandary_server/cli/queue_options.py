"""Options that several commands of a queue have, and the leased tasks that they name."""

from pathlib import Path
from typing import Annotated

import typer

from quandary.names import task_name
from quandary_server.cli import lease_folder
from quandary_server.cli.lease_folder import LEASES, Held

QueueOption = Annotated[str, typer.Option("--queue", help="active, control, or one of the settings (selector.queues)")]
QueuesOption = Annotated[list[str] | None, typer.Option("--queue", help="this queue alone; as often as you like")]
FrameArgument = Annotated[str, typer.Argument(metavar="FRAME", help="frame id of the task")]
LeasedFrameArgument = Annotated[str | None, typer.Argument(metavar="FRAME", help="frame id of the task, also of --leased")]
TokenOption = Annotated[str | None, typer.Option("--lease-token", help="its lease token")]
LeasedOption = Annotated[
    Path | None,
    typer.Option("--leased", help=f"what `queue lease --json` printed, a {LEASES}, or the folder with one; - is stdin"),
]


def held_tasks(frame: str | None, lease_token: str | None, leased: Path | None, queue: str) -> tuple[list[Held], Path | None]:
    """Return the leased tasks that a command line names, and the file that holds them, if any.

    FRAME with --lease-token; all in --leased, or FRAME of those. Raises BadParameter for any other.
    """
    if (leased is None) == (lease_token is None) or (lease_token is not None and frame is None):
        given = f"FRAME is {frame or 'unset'}, --lease-token {'set' if lease_token else 'unset'}, --leased {leased or 'unset'}"
        raise typer.BadParameter(f"{given}: give FRAME with --lease-token, or --leased")
    if leased is None:
        return [Held(task_name(queue, frame or ""), frame or "", lease_token or "")], None
    source = lease_folder.leases_file(leased)
    held = lease_folder.read_held(source)
    if frame is None:
        return held, source
    if found := [task for task in held if task.frame_id == frame]:
        return found, source
    raise typer.BadParameter(f"{frame} is not in {source}", param_hint="FRAME")
