"""quandary queue why: why a task is asked for, in words and from above."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from quandary.names import task_name
from quandary.v1 import scoring_pb2
from quandary_server.cli.output import err, out, print_json, print_table
from quandary_server.cli.queue_options import FrameArgument, QueueOption
from quandary_server.cli.session import DataOption, JsonOption, check_file, labelling_client, settings_of
from quandary_server.wire.spread import centre_sigma_m

COLUMNS = [
    "#object",
    "class",
    "#probability",
    "#score",
    "#entropy\n(nats)",
    "#disagreement\n(nats)",
    "#centre\n+- m",
    "#of it\nepistemic",
    "#points",
    "?box: ahead, left, up; length x width x height (m); yaw",
]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(why)


def why(
    frame: FrameArgument,
    queue: QueueOption = "active",
    png: Annotated[Path | None, typer.Option("--png", help="draw it from above into this file")] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show why a task is asked for: every object with its box and how sure the detector is, in words and as a picture."""
    from quandary_server.cli import birds_eye
    from quandary_server.storage.blobs import read_cloud

    check_file(png, "--png")
    with labelling_client(settings_of(data)) as client:
        task = client.get_task(task_name(queue, frame))
    if as_json:
        print_json(task)
    else:
        for sentence in (task.reason, *birds_eye.told(task)):
            out.print(escape(sentence))
        objects = sorted(task.frame_score.objects, key=lambda found: -found.score)
        print_table(COLUMNS, map(_row, objects), empty="no object was scored")
    if png is not None:  # after the words, which need no cloud
        birds_eye.draw(png, task, read_cloud(task.record.cloud_uri))
        err.print(f"drawn: {png}")


def _row(found: scoring_pb2.ObjectScore) -> tuple[object, ...]:
    doubt, spread = found.class_uncertainty, found.box_uncertainty
    epistemic = scoring_pb2.BoxUncertainty(epistemic_variance=spread.epistemic_variance)
    sigmas = (centre_sigma_m(spread), centre_sigma_m(epistemic))
    return (
        found.proposal_index,
        found.predicted_class,
        f"{max(found.class_probabilities, default=0.0):.0%}",
        f"{found.score:.3f}",
        f"{doubt.predictive_entropy_nats:.3f}",
        f"{doubt.mutual_information_nats:.3f}" if doubt.HasField("mutual_information_nats") else "-",
        *("-" if sigma is None else f"{sigma:.2f}" for sigma in sigmas),
        found.points,
        _box(found),
    )


def _box(found: scoring_pb2.ObjectScore) -> str:
    if not found.HasField("box"):
        return "-"
    box = found.box
    return (
        f"{box.x_m:.1f}, {box.y_m:.1f}, {box.z_m:.1f}; {box.length_m:.1f} x {box.width_m:.1f} x {box.height_m:.1f}; "
        f"{box.yaw_rad:+.2f} rad"
    )
