"""quandary train | runs: training runs."""

from typing import Annotated

import typer

from quandary.v1 import training_pb2
from quandary_server.cli.gate_table import print_gates
from quandary_server.cli.output import err, out, print_json, print_table, progress_bar
from quandary_server.cli.session import MAX_SEED, DataOption, JsonOption, settings_of, training_client

STAGES = [value.name for value in training_pb2.RunStage.DESCRIPTOR.values if value.number]
FAILED = 1


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(train)
    app.command()(runs)


def train(
    members: Annotated[int | None, typer.Option(min=1, max=32, help="members; by default as set")] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="training steps per member; by default as set")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=MAX_SEED, help="seed; by default the run's number")] = None,
    promote: Annotated[bool, typer.Option(help="promote the generation where the gates pass")] = True,
    wait: Annotated[bool, typer.Option(help="wait for the end of the run")] = True,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start a training run on all labels there are."""
    with training_client(settings_of(data)) as client:
        run = client.start_run(members=members, steps=steps, seed=seed, promote=promote)
        name = run.name
        if wait:
            with progress_bar(name, len(STAGES)) as advance:
                for run in client.watch_run(name):
                    advance(run.stage - 1 + run.stage_progress, f"{run.name} {_name(training_pb2.RunStage, run.stage)}")
    if as_json:
        print_json(run)
    else:
        _print_run(run)
    if run.state not in (training_pb2.RUN_STATE_RUNNING, training_pb2.RUN_STATE_SUCCEEDED):
        raise typer.Exit(FAILED)


def runs(
    count: Annotated[int, typer.Option("-n", min=1, help="how many")] = 20, data: DataOption = None, as_json: JsonOption = False
) -> None:
    """List training runs, newest first."""
    with training_client(settings_of(data)) as client:
        found = [run for run, _ in zip(client.list_runs(page_size=min(count, 500)), range(count), strict=False)]
    if as_json:
        print_json(found)
        return
    rows = [
        (
            run.name.removeprefix("runs/"),
            _name(training_pb2.RunState, run.state),
            _name(training_pb2.RunStage, run.stage),
            _name(training_pb2.RunTrigger, run.trigger),
            run.training_crops,
            run.generation.removeprefix("generations/"),
            run.error,
        )
        for run in found
    ]
    print_table(["run", "state", "?stage", "?trigger", "?#crops", "generation", "~problem"], rows, empty="no runs yet")


def _print_run(run: training_pb2.Run) -> None:
    state = _name(training_pb2.RunState, run.state)
    out.print(f"{run.name} {state}; {run.training_crops} crops; {run.generation or 'no generation'}")
    if run.gates:
        print_gates(run.gates)
    if run.error:
        err.print(run.error, markup=False)


def _name(enum: object, number: int) -> str:
    """Return the value's name in small letters, without its prefix: RUN_STATE_FAILED is failed."""
    name: str = enum.Name(number)  # type: ignore[attr-defined]
    return next(name.removeprefix(p) for p in PREFIXES if name.startswith(p)).lower()


PREFIXES = ("RUN_STATE_", "RUN_STAGE_", "RUN_TRIGGER_")
