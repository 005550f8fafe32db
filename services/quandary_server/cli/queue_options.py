"""Options that several commands of a queue have."""

from typing import Annotated

import typer

QueueOption = Annotated[str, typer.Option("--queue", help="active, control, or one of the settings (selector.queues)")]
QueuesOption = Annotated[list[str] | None, typer.Option("--queue", help="this queue alone; as often as you like")]
FrameArgument = Annotated[str, typer.Argument(metavar="FRAME", help="frame id of the task")]
