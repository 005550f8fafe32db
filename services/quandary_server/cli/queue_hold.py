"""quandary queue renew | release: tasks held for longer, or given back; one, or all of a file."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from quandary import LabellingClient, QuandaryError, Unavailable
from quandary.names import task_name
from quandary_server.cli import lease_folder
from quandary_server.cli.lease_folder import LEASES, Held
from quandary_server.cli.output import err, out, print_error
from quandary_server.cli.queue_options import QueueOption
from quandary_server.cli.session import DataOption, labelling_client, settings_of

FrameArgument = Annotated[str | None, typer.Argument(metavar="[FRAME]", help="frame id of the task")]
TokenOption = Annotated[str | None, typer.Option("--lease-token", help="its lease token")]
LeasedOption = Annotated[
    Path | None,
    typer.Option("--leased", help=f"what `queue lease --json` printed, a {LEASES}, or the folder with one; - is stdin"),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(renew)
    app.command()(release)


def renew(
    frame: FrameArgument = None,
    lease_token: TokenOption = None,
    leased: LeasedOption = None,
    minutes: Annotated[float, typer.Option(min=1 / 60, max=1440, help="for how long, from now")] = 15.0,
    queue: QueueOption = "active",
    data: DataOption = None,
) -> None:
    """Hold leased tasks for longer: FRAME with --lease-token, or all in --leased. What has run out cannot be."""
    duration = timedelta(minutes=minutes)

    def renewed(client: LabellingClient, task: Held) -> Held:
        lease = client.renew_lease(task.name, task.token, duration)
        until = lease.expire_time.ToDatetime().isoformat(sep=" ", timespec="seconds")
        out.print(f"{task.frame_id} is held until {until} UTC")
        return replace(task, expires=lease.expire_time.ToJsonString())

    _each(frame, lease_token, leased, queue, data, renewed)


def release(
    frame: FrameArgument = None,
    lease_token: TokenOption = None,
    leased: LeasedOption = None,
    queue: QueueOption = "active",
    data: DataOption = None,
) -> None:
    """Give leased tasks back, which wait again at once: FRAME with --lease-token, or all in --leased."""

    def released(client: LabellingClient, task: Held) -> None:
        client.release_task(task.name, task.token)
        out.print(f"{task.frame_id} released")

    _each(frame, lease_token, leased, queue, data, released)


def _each(
    frame: str | None,
    lease_token: str | None,
    leased: Path | None,
    queue: str,
    data: Path | None,
    do: Callable[[LabellingClient, Held], Held | None],
) -> None:
    """Do it to each task, whatever becomes of the others; exit with 1 where one was refused.

    What it returns is kept in the folder's leases.json; None: the task is held no more. Refused ones stay there.
    """
    if (leased is None) == (frame is None or lease_token is None):
        raise typer.BadParameter("give FRAME with --lease-token, or --leased")
    if leased is not None and leased.is_dir():
        leased = leased / LEASES
    held = lease_folder.read_held(leased) if leased else [Held(task_name(queue, frame or ""), frame or "", lease_token or "")]
    after: list[Held | None] = list(held)  # what is not come to, where the service goes away, stays as it is
    refused = 0
    try:
        with labelling_client(settings_of(data)) as client:
            for i, task in enumerate(held):
                try:
                    after[i] = do(client, task)
                except Unavailable:
                    raise
                except QuandaryError as error:
                    err.print(f"{task.frame_id} refused:")
                    print_error(error)
                    refused += 1
    finally:
        if leased is not None and leased.name == LEASES:
            lease_folder.write_held(leased.parent, [task for task in after if task is not None])
    raise typer.Exit(int(bool(refused)))
