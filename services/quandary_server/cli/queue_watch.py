"""quandary queue watch: the queues as they stand, again and again."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated

import typer
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from quandary import LabellingClient, QuandaryError
from quandary.v1 import queue_pb2
from quandary_server.cli.output import out, print_json, table_of
from quandary_server.cli.queue_options import QueuesOption
from quandary_server.cli.session import DataOption, JsonOption, labelling_client, settings_of

MAX_LEASED = 500
"""Leased tasks of each queue that are looked at for who holds what."""

FRAMES_NAMED = 6

QUEUE_COLUMNS = ["queue", "#waiting", "?#folded", "#leased", "#acknowledged", "?#skipped", "?#dead", "#oldest waits"]
HOLDER_COLUMNS = ["holder", "queue", "#tasks", "#next ends in", "~frames"]
HEAD_COLUMNS = ["queue", "#place", "frame", "?drive", "#rank", "#score", "~why"]


@dataclass(frozen=True)
class Look:
    """The queues at one moment: counts, the first waiting tasks of each, and the leased tasks of all."""

    time: datetime
    queues: Sequence[queue_pb2.QueueStats]
    head: Sequence[queue_pb2.Task]
    leased: Sequence[queue_pb2.Task]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(watch)


def watch(
    interval: Annotated[float, typer.Option(min=0.2, max=3600, help="seconds between two looks")] = 2.0,
    head: Annotated[int, typer.Option("--head", min=0, max=50, help="tasks shown of each queue's head")] = 5,
    queue: QueuesOption = None,
    once: Annotated[bool, typer.Option("--once", help="look once and end, as into a pipe")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the queues, who holds what, and the tasks that are leased next, until Ctrl-C; with --json once."""
    with labelling_client(settings_of(data)) as client:
        found = look(client, head, datetime.now(UTC), queue or ())
        if as_json:
            print_json({"queues": found.queues, "head": found.head, "leased": found.leased})
        elif once or not out.is_terminal:
            out.print(shown(found), soft_wrap=False)
        else:
            out.print(shown(_watch(client, head, interval, found, queue or ())), soft_wrap=False)


def _watch(client: LabellingClient, head: int, interval: float, found: Look, only: Sequence[str]) -> Look:
    """Look again and again; return what was seen last at Ctrl-C."""
    problem = ""
    try:
        with Live(console=out, auto_refresh=False, screen=True) as live:
            while True:
                live.update(Group(shown(found), Text(problem or "Ctrl-C ends", style="dim")), refresh=True)
                time.sleep(interval)
                try:
                    found, problem = look(client, head, datetime.now(UTC), only), ""
                except QuandaryError as error:  # it may come back; what was seen last stays
                    problem = f"as of {found.time:%H:%M:%S} UTC, since then: {error.message}"
    except KeyboardInterrupt:
        return found


def counts_of(client: LabellingClient, only: Sequence[str]) -> list[queue_pb2.QueueStats]:
    """Return the counts of the queues named, of all where none is; raises NotFound for one that there is not."""
    return [client.queue_stats(queue) for queue in only] if only else list(client.list_queues())


def look(client: LabellingClient, head: int, now: datetime, only: Sequence[str] = ()) -> Look:
    """Return how the queues stand now; only: those named. Raises NotFound for one that there is not."""
    queues = counts_of(client, only)

    def first(state: queue_pb2.TaskState.ValueType, count: int) -> list[queue_pb2.Task]:
        pages = (client.list_tasks(queue.name, state=state, page_size=max(count, 1)) for queue in queues)
        return [task for tasks in pages for task in islice(tasks, count)]

    return Look(now, queues, first(queue_pb2.TASK_STATE_WAITING, head), first(queue_pb2.TASK_STATE_LEASED, MAX_LEASED))


def shown(found: Look) -> RenderableType:
    """Return the tables of a look."""
    holders = table_of(HOLDER_COLUMNS, _holders(found), empty="Nothing is leased.")
    head = table_of(HEAD_COLUMNS, _head(found.head), empty="No task waits.")
    queues = table_of(QUEUE_COLUMNS, [_counts(queue, found.time) for queue in found.queues], empty="no queues")
    time_of = Text(f"{found.time:%Y-%m-%d %H:%M:%S} UTC", style="dim")
    return Group(time_of, queues, Text("\nWho holds what", style="bold"), holders, Text("\nNext", style="bold"), head)


def rank_of(task: queue_pb2.Task) -> str:
    """Return the task's rank as text."""
    return str(task.rank) if task.HasField("rank") else "-"


def score_of(task: queue_pb2.Task) -> str:
    """Return the task's score as text."""
    return f"{task.score:.4f}" if task.HasField("score") else "-"


def skip_reason_of(task: queue_pb2.Task) -> str:
    """Return why the task was skipped, as text."""
    return queue_pb2.SkipReason.Name(task.skip_reason).removeprefix("SKIP_REASON_").lower()


def time_of(message: Timestamp) -> str:
    """Return a time, in UTC, as text."""
    return message.ToDatetime().isoformat(sep=" ", timespec="seconds")


def age(length: timedelta) -> str:
    """Return a length of time in its two largest units."""
    seconds = max(round(length.total_seconds()), 0)
    days, hours, minutes = seconds // 86_400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds % 60:02} s" if minutes else f"{seconds} s"


def _counts(queue: queue_pb2.QueueStats, now: datetime) -> tuple[object, ...]:
    oldest = age(now - _time(queue.oldest_waiting_time)) if queue.HasField("oldest_waiting_time") else "-"
    counts = (queue.waiting, queue.folded, queue.leased, queue.acknowledged, queue.skipped, queue.dead_letter)
    return queue.name.removeprefix("queues/"), *counts, oldest


def _holders(found: Look) -> list[tuple[object, ...]]:
    held: dict[tuple[str, str], list[queue_pb2.Task]] = {}
    for task in found.leased:
        held.setdefault((task.lease.holder, _queue(task)), []).append(task)
    rows: list[tuple[object, ...]] = []
    for (holder, queue), tasks in sorted(held.items()):
        next_end = min(_time(task.lease.expire_time) for task in tasks)
        names = ", ".join(task.frame_id for task in tasks[:FRAMES_NAMED])
        more = f" and {len(tasks) - FRAMES_NAMED} more" if len(tasks) > FRAMES_NAMED else ""
        rows.append((holder, queue, len(tasks), age(next_end - found.time), names + more))
    return rows


def _head(tasks: Iterable[queue_pb2.Task]) -> list[tuple[object, ...]]:
    places: dict[str, int] = {}
    rows: list[tuple[object, ...]] = []
    for task in tasks:
        queue = _queue(task)
        places[queue] = places.get(queue, 0) + 1
        rows.append((queue, places[queue], task.frame_id, task.drive_id, rank_of(task), score_of(task), task.reason))
    return rows


def _queue(task: queue_pb2.Task) -> str:
    return task.name.split("/")[1]


def _time(message: Timestamp) -> datetime:
    return message.ToDatetime(UTC)
