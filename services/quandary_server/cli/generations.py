"""quandary generations list | show | promote | rollback | pin | unpin | prune."""

from collections.abc import Iterable
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Annotated

import typer

from quandary.v1 import training_pb2
from quandary_server.cli.gate_table import print_generation, state_of
from quandary_server.cli.output import out, print_json, print_table
from quandary_server.cli.session import DataOption, JsonOption, settings_of, training_client
from quandary_server.clock import now
from quandary_server.registry.retention import plan
from quandary_server.registry.retention import prune as delete

app = typer.Typer(help="The generations there are, and which of them answers.", no_args_is_help=True)

TimeoutOption = Annotated[float, typer.Option("--timeout", min=0, max=600, help="seconds to wait for all replicas")]
GenerationArgument = Annotated[str, typer.Argument(metavar="GENERATION", help="id of the generation")]


@app.command("list")
def list_(
    count: Annotated[int, typer.Option("-n", min=1, help="how many")] = 20, data: DataOption = None, as_json: JsonOption = False
) -> None:
    """List generations, newest first."""
    with training_client(settings_of(data)) as client:
        pages = client.list_generations(page_size=min(count, 500))
        found = [generation for generation, _ in zip(pages, range(count), strict=False)]
    if as_json:
        print_json(found)
        return
    print_table(["generation", "state", "?#members", "#crops", "#macro\nrecall", "#NLL", "?made (UTC)"], map(_row, found),
                empty="no generation yet: label some frames, then `quandary train`")  # fmt: skip


@app.command()
def show(
    generation: Annotated[str, typer.Argument(metavar="GENERATION")] = "current",
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one generation, by default the current one: what it is made of, how it did at the gates, its figures."""
    with training_client(settings_of(data)) as client:
        found = client.get_generation(generation)
    if as_json:
        print_json(found)
    else:
        print_generation(found)


@app.command()
def promote(
    generation: GenerationArgument,
    force: Annotated[bool, typer.Option("--force", help="although a gate refused it")] = False,
    timeout: TimeoutOption = 60.0,
    data: DataOption = None,
) -> None:
    """Make a generation the current one; returns when every replica answers with it."""
    with training_client(settings_of(data)) as client:
        done = client.promote(generation, force=force, replica_timeout=timedelta(seconds=timeout))
    _tell(done.generation, done.replicas)


@app.command()
def rollback(
    generation: Annotated[str | None, typer.Argument(metavar="[GENERATION]", help="by default the one before")] = None,
    timeout: TimeoutOption = 60.0,
    data: DataOption = None,
) -> None:
    """Go back to the generation before, or to a named one; returns when every replica answers with it."""
    with training_client(settings_of(data)) as client:
        done = client.rollback(generation, replica_timeout=timedelta(seconds=timeout))
    _tell(done.generation, done.replicas)


@app.command()
def pin(generation: GenerationArgument, data: DataOption = None) -> None:
    """Keep a generation from being deleted, however old it gets."""
    with training_client(settings_of(data)) as client:
        out.print(f"{client.pin(generation).name} is pinned")


@app.command()
def unpin(generation: GenerationArgument, data: DataOption = None) -> None:
    """Let go of a generation: it is deleted when it is old and nobody uses it."""
    with training_client(settings_of(data)) as client:
        out.print(f"{client.unpin(generation).name} is not pinned")


@app.command()
def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be deleted")] = False,
    keep: Annotated[int | None, typer.Option("--keep", min=1, help="newest that stay; by default registry.keep")] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete old generations and what broken registrations left; works on the registry itself, no trainer need run."""
    settings = settings_of(data)
    retention = settings.registry.retention
    retention = retention if keep is None else replace(retention, keep=keep)
    done = (plan if dry_run else delete)(settings.open_registry(), retention, now())
    if as_json:
        print_json({"dry_run": dry_run, **asdict(done)})
        return
    rows = [(name, "deleted") for name in done.generations] + [(name, "deleted: never whole") for name in done.leftovers]
    rows += [(name, f"kept: {why}") for name, why in done.kept.items()]
    print_table(["generation", "would be" if dry_run else "is"], sorted(rows, reverse=True), empty="no generation yet")


def _tell(generation: training_pb2.Generation, replicas: Iterable[str]) -> None:
    answering = ", ".join(replicas) or "no replica is alive; they load it when they start"
    out.print(f"{generation.name} is current; answering: {answering}")


def _row(generation: training_pb2.Generation) -> tuple[object, ...]:
    figures = generation.metrics
    return (
        generation.name.removeprefix("generations/"),
        state_of(generation),
        generation.members,
        generation.training_crops,
        f"{figures['macro_recall']:.3f}" if "macro_recall" in figures else "-",
        f"{figures['nll']:.3f}" if "nll" in figures else "-",
        generation.create_time.ToDatetime().isoformat(sep=" ", timespec="seconds"),
    )
