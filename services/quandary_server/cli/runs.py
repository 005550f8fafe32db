"""quandary train; quandary runs [show | logs | cancel]: training runs."""

import json
from contextlib import closing
from typing import Annotated

import typer

from quandary import TrainingClient
from quandary.v1 import training_pb2
from quandary_server.cli.following import followed
from quandary_server.cli.gate_table import print_gates
from quandary_server.cli.output import err, out, plain, print_json, print_table, progress_bar
from quandary_server.cli.session import MAX_SEED, DataOption, JsonOption, settings_of, training_client

app = typer.Typer(help="List training runs, newest first; or look into one, or end it.", invoke_without_command=True)

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="id of the run, run-000001 for one")]

STAGES = [value.name for value in training_pb2.RunStage.DESCRIPTOR.values if value.number]
FAILED = 1
SHOWN = ("macro_recall", "nll", "ece", "training_loss", "seconds_training")
"""Figures that a person looks for first; `runs show` has them all."""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(train)


def train(
    members: Annotated[int | None, typer.Option(min=1, max=32, help="members; by default as set")] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="training steps per member; by default as set")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=MAX_SEED, help="seed; by default the run's number")] = None,
    promote: Annotated[bool, typer.Option(help="promote the generation where the gates pass")] = True,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", "--follow/--no-follow", help="follow the run to its end")] = True,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start a training run on all labels there are, and follow it: its stage, its progress and what it tells."""
    with training_client(settings_of(data)) as client:
        run = client.start_run(members=members, steps=steps, seed=seed, promote=promote)
        if wait:
            run = _follow(client, run.name, quiet=as_json)
    _end(run, as_json=as_json)


@app.callback()
def runs(
    context: typer.Context,
    count: Annotated[int, typer.Option("-n", min=1, help="how many")] = 20,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List training runs, newest first."""
    if context.invoked_subcommand is not None:
        return
    with training_client(settings_of(data)) as client:
        found = [run for run, _ in zip(client.list_runs(page_size=min(count, 500)), range(count), strict=False)]
    if as_json:
        print_json(found)
        return
    columns = ["run", "state", "?stage", "?trigger", "?#crops", "?#resumed", "generation", "~problem"]
    print_table(columns, map(_row, found), empty="no runs yet")


@app.command()
def show(run: RunArgument, data: DataOption = None) -> None:
    """Show one run as JSON: its gates and all of its figures."""
    with training_client(settings_of(data)) as client:
        print_json(client.get_run(run))


@app.command()
def logs(
    run: RunArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on until it ends")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print what a run told: a line for each thing that it did. With --json: one object a line."""
    with training_client(settings_of(data)) as client, closing(followed(client, run)) as told:
        for _, lines in told:
            for line in lines:
                out.print(json.dumps(plain(line)) if as_json else _text(line), markup=False)
            if not follow:
                return


@app.command()
def cancel(run: RunArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """End a run before its time: what it trained is lost, and nothing is promoted."""
    with training_client(settings_of(data)) as client:
        ended = client.cancel_run(run)
    if as_json:
        print_json(ended)
    else:
        out.print(f"{ended.name} {_name(training_pb2.RunState, ended.state)}: {ended.error}", markup=False)


def _follow(client: TrainingClient, name: str, *, quiet: bool) -> training_pb2.Run:
    """Show a run until it ends, its lines above a bar; return it as it ended."""
    run = training_pb2.Run(name=name)
    with progress_bar(name, len(STAGES)) as advance:
        for run, lines in followed(client, name):
            for line in () if quiet else lines:
                # beside the bar, which is on stderr too: of two consoles each would write into the other's line
                err.print(_text(line), markup=False)
            advance(run.stage - 1 + run.stage_progress, f"{run.name} {_name(training_pb2.RunStage, run.stage)}")
    return run


def _end(run: training_pb2.Run, *, as_json: bool) -> None:
    if as_json:
        print_json(run)
    else:
        _print_run(run)
    if run.state not in (training_pb2.RUN_STATE_RUNNING, training_pb2.RUN_STATE_SUCCEEDED):
        raise typer.Exit(FAILED)


def _text(line: training_pb2.RunLine) -> str:
    return f"{line.time.ToDatetime():%H:%M:%S}  {line.text}"


def _print_run(run: training_pb2.Run) -> None:
    state = _name(training_pb2.RunState, run.state)
    out.print(f"{run.name} {state}; {run.training_crops} crops; {run.generation or 'no generation'}")
    if run.gates:
        print_gates(run.gates)
    # a gate's macro recall is over the classes with enough crops, that of the figures over all
    judged = {gate.gate for gate in run.gates}
    if figures := [f"{name} {run.metrics[name]:.3g}" for name in SHOWN if name in run.metrics and name not in judged]:
        out.print(f"  {', '.join(figures)}")
    if run.error:
        err.print(run.error, markup=False)


def _row(run: training_pb2.Run) -> tuple[object, ...]:
    return (
        run.name.removeprefix("runs/"),
        _name(training_pb2.RunState, run.state),
        _name(training_pb2.RunStage, run.stage),
        _name(training_pb2.RunTrigger, run.trigger),
        run.training_crops,
        run.resumptions,
        run.generation.removeprefix("generations/"),
        run.error,
    )


def _name(enum: object, number: int) -> str:
    """Return the value's name in small letters, without its prefix: RUN_STATE_FAILED is failed."""
    name: str = enum.Name(number)  # type: ignore[attr-defined]
    return next(name.removeprefix(p) for p in PREFIXES if name.startswith(p)).lower()


PREFIXES = ("RUN_STATE_", "RUN_STAGE_", "RUN_TRIGGER_")
