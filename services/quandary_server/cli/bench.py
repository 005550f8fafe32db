"""quandary bench NAME --json FILE: measures, and writes the one shape."""

import sys
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from quandary.errors import InvalidArgument
from quandary_server.bench.figures import Figure, document, write_document
from quandary_server.bench.progress import Told
from quandary_server.bench.scoring.parts import Part, scoring_figures
from quandary_server.cli.output import err, print_json, print_table, progress_bar
from quandary_server.cli.session import check_file

UNMET = 1


class Benchmark(StrEnum):
    """The benchmarks there are."""

    CLIENT = "client"
    SCORING = "scoring"
    OVERLOAD = "overload"
    GPU = "gpu"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(bench)


def bench(
    name: Annotated[Benchmark, typer.Argument(help="what to measure")],
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures to this file; - prints them")] = None,
    only: Annotated[
        list[Part] | None, typer.Option("--only", help="of scoring, measure this part; as often as you name one")
    ] = None,
    baal: Annotated[
        Path | None, typer.Option(help="folder of the environment that scoring makes for Baal; in the user's cache unless told")
    ] = None,
) -> None:
    """Measure, and tell which figures meet their bar; exit code 1 where one does not, or could not be measured."""
    check_file(json_file, "--json")
    for option, value in (("--only", only), ("--baal", baal)):
        if value and name is not Benchmark.SCORING:
            raise InvalidArgument.of(option, f"given to {name.value}", "given to scoring alone")
    failures: list[Part] = []

    def failed(part: Part, error: Exception) -> None:
        failures.append(part)
        err.print(f"{part.value}: {type(error).__name__}: {error}", markup=False)

    with progress_bar("measuring", None) as advance:
        measure = _measure(name, partial(scoring_figures, parts=only or list(Part), environment=baal, failed=failed))
        figures = measure(lambda what, done, total: advance(done, what, total))
    command = " ".join(["quandary", "bench", name.value, *(f"--only {part.value}" for part in only or ())])
    if json_file is None:
        print_figures(figures)
    elif str(json_file) == "-":
        print_json(document(figures, command))
    else:
        write_document(json_file, figures, command)
        print_figures(figures)
    if failures or any(figure.met is False for figure in figures):
        sys.exit(UNMET)


def print_figures(figures: list[Figure]) -> None:
    """Print figures as a table."""
    rows = [(f.name, f"{f.value:.4g}", f.unit, f.reach, {None: "", True: "yes", False: "NO"}[f.met]) for f in figures]
    print_table(["figure", "#value", "~unit", "reach", "met"], rows, empty="no figures")


def _measure(name: Benchmark, scoring: Callable[[Told], list[Figure]]) -> Callable[[Told], list[Figure]]:
    if name is Benchmark.CLIENT:
        from quandary_server.bench.client import client_figures

        return lambda _: client_figures()
    if name is Benchmark.OVERLOAD:
        from quandary_server.bench.overload import overload_figures

        return overload_figures
    if name is Benchmark.GPU:
        from quandary_server.bench.gpu import gpu_figures

        return gpu_figures
    return scoring
