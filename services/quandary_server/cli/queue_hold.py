"""quandary queue renew | release: tasks held for longer, or given back; one, or all of a file."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from quandary import LabellingClient, QuandaryError, Unavailable
from quandary_server.cli import lease_folder
from quandary_server.cli.lease_folder import Held
from quandary_server.cli.output import err, out, print_error
from quandary_server.cli.queue_options import LeasedFrameArgument, LeasedOption, QueueOption, TokenOption, held_tasks
from quandary_server.cli.queue_watch import time_of
from quandary_server.cli.session import DataOption, labelling_client, settings_of
from quandary_server.clock import now


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(renew)
    app.command()(release)


def renew(
    frame: LeasedFrameArgument = None,
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
        out.print(f"{task.frame_id} is held until {time_of(lease.expire_time)} UTC")
        return replace(task, expires=lease.expire_time.ToJsonString())

    _each(frame, lease_token, leased, queue, data, renewed)


def release(
    frame: LeasedFrameArgument = None,
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
    """Do it to each task that was not acknowledged, whatever becomes of the others; exit with 1 where one was refused.

    What it returns is kept in the folder's leases.json; None: the task is held no more. Refused ones stay there.
    """
    held, source = held_tasks(frame, lease_token, leased, queue)
    changed: dict[str, Held | None] = {}
    refused = 0
    try:
        with labelling_client(settings_of(data)) as client:
            for task in held:
                if task.acknowledged:
                    continue
                try:
                    changed[task.name] = do(client, task)
                except Unavailable:
                    raise
                except QuandaryError as error:
                    err.print(f"{task.frame_id} refused:")
                    print_error(lease_folder.explained(error, task, now()))
                    refused += 1
    finally:
        if source:
            lease_folder.update_held(source, changed)
    raise typer.Exit(int(bool(refused)))
