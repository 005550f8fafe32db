"""Options that several commands of a queue have."""

from typing import Annotated

import typer

QueueOption = Annotated[str, typer.Option("--queue", help="active or control")]
FrameArgument = Annotated[str, typer.Argument(metavar="FRAME", help="frame id of the task")]
