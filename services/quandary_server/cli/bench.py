"""quandary bench NAME --json FILE: measures, and writes the one shape."""

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from quandary_server.bench.figures import Figure, document, write_document
from quandary_server.cli.output import print_json, print_table, progress_bar
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
) -> None:
    """Measure, and tell which figures meet their bar; exit code 1 where one does not."""
    check_file(json_file, "--json")
    with progress_bar("measuring", None) as advance:
        figures = _measure(name)(lambda what, done, total: advance(done, what, total))
    command = f"quandary bench {name.value}"
    if json_file is None:
        print_figures(figures)
    elif str(json_file) == "-":
        print_json(document(figures, command))
    else:
        write_document(json_file, figures, command)
        print_figures(figures)
    if any(figure.met is False for figure in figures):
        sys.exit(UNMET)


def print_figures(figures: list[Figure]) -> None:
    """Print figures as a table."""
    rows = [(f.name, f"{f.value:.4g}", f.unit, f.reach, {None: "", True: "yes", False: "NO"}[f.met]) for f in figures]
    print_table(["figure", "#value", "~unit", "reach", "met"], rows, empty="no figures")


def _measure(name: Benchmark) -> Callable[[Callable[[str, int, int], None]], list[Figure]]:
    """Return what measures; it is told what is being done, how much of that is, and how much there is."""
    if name is Benchmark.CLIENT:
        from quandary_server.bench.client import client_figures

        return lambda _: client_figures()
    if name is Benchmark.OVERLOAD:
        from quandary_server.bench.overload import overload_figures

        return overload_figures
    if name is Benchmark.GPU:
        from quandary_server.bench.gpu import gpu_figures

        return gpu_figures
    from quandary_server.bench.scoring import scoring_figures

    return scoring_figures
