"""quandary queue ack: labels back from a labeller, file by file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from quandary import FailedPrecondition, InvalidArgument, LabellingClient, QuandaryError, Unavailable
from quandary_server.cli import lease_folder
from quandary_server.cli.label_files import (
    LabelFiles,
    ReadFile,
    UnchangedOption,
    few_of,
    located,
    read_label_files,
    tell_refused,
    tell_untouched,
)
from quandary_server.cli.lease_folder import LEASES, Held
from quandary_server.cli.output import err, out
from quandary_server.cli.queue_options import LeasedFrameArgument, LeasedOption, QueueOption, TokenOption, held_tasks
from quandary_server.cli.session import DataOption, labelling_client, settings_of
from quandary_server.clock import now


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(ack)


def ack(
    labels: Annotated[
        Path,
        typer.Option(
            "--labels",
            help="KITTI folder whose label_2 has the labels; one of `lease --export` needs nothing else",
            exists=True,
        ),
    ],
    frame: LeasedFrameArgument = None,
    lease_token: TokenOption = None,
    leased: LeasedOption = None,
    unchanged: UnchangedOption = False,
    seconds: Annotated[float, typer.Option(min=0, max=86_400, help="labelling time per frame, for the cost model")] = 0.0,
    queue: QueueOption = "active",
    data: DataOption = None,
) -> None:
    """Hand the labels of leased tasks in: of one FRAME with --lease-token, of all in --leased, or of all in an exported folder.

    All label files are read before the first is handed in. One that is refused is named with the line, and holds up no other.
    Frames whose pre-labels nobody changed are left out: a detector must not learn from itself. Run again for what is new.
    """
    if leased is None and lease_token is None:
        if not (labels / LEASES).is_file():
            raise typer.BadParameter(f"there is no {LEASES} in {labels}: give --leased, or FRAME with --lease-token")
        leased = labels
    from quandary_server.datasets.kitti import KittiFolder

    held, source = held_tasks(frame, lease_token, leased, queue)
    work = _sorted_out(labels, held, unchanged)
    # before they are read: what somebody saves meanwhile is not taken for what was handed in
    digests = {task.frame_id: lease_folder.label_digest(labels, task.frame_id) for task in work.due}
    files = read_label_files(KittiFolder(labels), digests) if work.due else LabelFiles()
    refused = dict(files.faults)
    taken: dict[str, Held] = {}
    try:
        if files.read:
            with labelling_client(settings_of(data)) as client:
                for task in work.due:
                    if task.frame_id in files.read:
                        handed_in = replace(task, acknowledged=digests[task.frame_id])
                        _hand_in(client, handed_in, files.read[task.frame_id], seconds, taken, refused)
    finally:
        tell_refused(refused, files.missing)
        if source:
            lease_folder.update_held(source, taken)
    exported = lease_folder.held_in(labels) if source == labels / LEASES else ()
    _tell_rest(labels, exported, work, refused)
    raise typer.Exit(int(bool(refused or files.missing or work.left)))


@dataclass(frozen=True)
class Work:
    """What there is to do of leased tasks: due, with pre-labels that nobody changed, and done before."""

    due: Sequence[Held]
    left: Sequence[Held]
    done: Sequence[Held]


def _sorted_out(labels: Path, held: Sequence[Held], unchanged: bool) -> Work:
    done = [task for task in held if lease_folder.handed_in(labels, task)]
    left = [task for task in held if task not in done and not unchanged and lease_folder.untouched(labels, task)]
    return Work([task for task in held if task not in done and task not in left], left, done)


def _hand_in(
    client: LabellingClient,
    task: Held,
    file: ReadFile,
    seconds: float,
    taken: dict[str, Held],
    refused: dict[str, QuandaryError],
) -> None:
    """Hand a task's labels in, and note that it was taken, or why it was not, which costs the others nothing."""
    labels = replace(file.labels, time_spent=timedelta(seconds=seconds), prelabel_generation=task.generation)
    try:
        client.acknowledge_task(task.name, task.token, labels)
    except Unavailable:
        raise
    except InvalidArgument as error:
        refused[task.frame_id] = located(error, "labels.", file.lines)
    except QuandaryError as error:
        refused[task.frame_id] = lease_folder.explained(error, task, now())
    else:
        taken[task.name] = task
        out.print(f"{task.frame_id} acknowledged, {len(labels.labels)} labels")


def _tell_rest(labels: Path, exported: Sequence[Held], work: Work, refused: Mapping[str, QuandaryError]) -> None:
    """Print what else became of the tasks of a folder, and what to do about it."""
    if late := [frame_id for frame_id, error in refused.items() if isinstance(error, FailedPrecondition)]:
        frames = " ".join(f"--frame {frame_id}" for frame_id in late)
        err.print(f"Labels without a lease, or in place of others, go in by: quandary labels import {labels} {frames}")
    if work.done:
        err.print(f"{len(work.done)} handed in before: {few_of([task.frame_id for task in work.done])}")
    tell_untouched([task.frame_id for task in work.left])
    if exported and (others := lease_folder.strangers(labels, exported)):
        err.print(f"{len(others)} files in label_2 are of no task that is leased here: {few_of(others)}")
