"""quandary bench NAME --json FILE: measures, and writes the one shape."""

import sys
from collections.abc import Callable, Sequence, Set
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from quandary.errors import InvalidArgument
from quandary_server.bench.figures import Figure, Measured, document, write_document, write_part
from quandary_server.bench.progress import Told
from quandary_server.bench.queue import parts as queue_parts
from quandary_server.bench.queue.parts import QueuePart, queue_figures
from quandary_server.bench.queue.sizes import Sizes
from quandary_server.bench.scoring.parts import Part, scoring_figures
from quandary_server.bench.stream.parts import StreamPart
from quandary_server.bench.stream.sizes import StreamSizes
from quandary_server.bench.train import parts as train_parts
from quandary_server.bench.train.parts import TrainPart, train_figures
from quandary_server.cli.output import err, print_json, print_table, progress_bar
from quandary_server.cli.session import check_file

UNMET = 1


class Benchmark(StrEnum):
    """The benchmarks there are."""

    CLIENT = "client"
    SCORING = "scoring"
    OVERLOAD = "overload"
    GPU = "gpu"
    QUEUE = "queue"
    STREAM = "stream"
    SWAP = "swap"
    TRAIN = "train"


PARTS: dict[Benchmark, type[StrEnum]] = {
    Benchmark.SCORING: Part,
    Benchmark.QUEUE: QueuePart,
    Benchmark.STREAM: StreamPart,
    Benchmark.TRAIN: TrainPart,
}
PART_OF: dict[Benchmark, Callable[[str], str]] = {
    Benchmark.QUEUE: queue_parts.part_of,
    Benchmark.TRAIN: train_parts.part_of,
}
"""Of those whose file is written part by part: the part of a figure."""
SCALED = (Benchmark.QUEUE, Benchmark.STREAM, Benchmark.SWAP)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(bench)


def bench(
    name: Annotated[Benchmark, typer.Argument(help="what to measure")],
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures to this file; - prints them")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="of scoring, queue, stream, train: this part; as often as you name one"),
    ] = None,
    baal: Annotated[
        Path | None, typer.Option(help="folder of the environment that scoring makes for Baal; in the user's cache unless told")
    ] = None,
    scale: Annotated[
        float, typer.Option(help="of queue, stream or swap, measure with this share of the rows and of the time: to try it out")
    ] = 1.0,
) -> None:
    """Measure, and tell which figures meet their bar; exit code 1 where one does not, or could not be measured."""
    check_file(json_file, "--json")
    if baal and name is not Benchmark.SCORING:
        raise InvalidArgument.of("--baal", f"given to {name.value}", "given to scoring alone")
    if scale != 1.0 and name not in SCALED:
        raise InvalidArgument.of("--scale", f"given to {name.value}", "given to queue, stream or swap")
    parts = _parts(name, only or [])
    failures: list[str] = []

    def failed(part: str, error: Exception) -> None:
        failures.append(part)
        err.print(f"{part}: {type(error).__name__}: {error}", markup=False)

    command = _command(name, only or [], scale)
    in_parts = name in PART_OF and json_file is not None and str(json_file) != "-"

    def measured(found: Sequence[Figure]) -> None:
        if json_file is not None and in_parts and found:
            write_part(json_file, found, PART_OF[name], lambda there: _command_of_parts(name, there, scale))

    with progress_bar("measuring", None) as advance:
        measure = _measure(name, parts, baal, scale, failed, measured)
        figures = measure(lambda what, done, total: advance(done, what, total))
    if json_file is None:
        print_figures(figures)
    elif str(json_file) == "-":
        print_json(document(figures, command))
    else:
        if not in_parts:
            write_document(json_file, figures, command)
        print_figures(figures)
    if failures or any(figure.met is False for figure in figures):
        sys.exit(UNMET)


def print_figures(figures: list[Figure]) -> None:
    """Print figures as a table."""
    rows = [(f.name, f"{f.value:.4g}", f.unit, f.reach, {None: "", True: "yes", False: "NO"}[f.met]) for f in figures]
    print_table(["figure", "#value", "~unit", "reach", "met"], rows, empty="no figures")


def _command(name: Benchmark, only: Sequence[str], scale: float) -> str:
    parts = " ".join(["quandary", "bench", name.value, *(f"--only {part}" for part in only)])
    return parts + (f" --scale {scale:g}" if scale != 1.0 else "")


def _command_of_parts(name: Benchmark, there: Set[str], scale: float) -> str:
    """Return the command of those parts that are there."""
    parts = list(PARTS[name])
    return _command(name, [part for part in parts if part in there] if there < set(parts) else [], scale)


def _parts(name: Benchmark, only: list[str]) -> list[Any]:
    """Return the parts asked for, all where none is named."""
    if name not in PARTS:
        if only:
            raise InvalidArgument.of("--only", f"given to {name.value}", "given to scoring, queue, stream or train")
        return []
    kinds = PARTS[name]
    for part in only:
        if part not in list(kinds):
            raise InvalidArgument.of("--only", part, f"one of {', '.join(kinds)}")
    return [kinds(part) for part in only] or list(kinds)


def _measure(
    name: Benchmark,
    parts: list[Any],
    baal: Path | None,
    scale: float,
    failed: Callable[[str, Exception], None],
    measured: Measured,
) -> Callable[[Told], list[Figure]]:
    if name is Benchmark.CLIENT:
        from quandary_server.bench.client import client_figures

        return lambda _: client_figures()
    if name is Benchmark.OVERLOAD:
        from quandary_server.bench.overload import overload_figures

        return overload_figures
    if name is Benchmark.GPU:
        from quandary_server.bench.gpu import gpu_figures

        return gpu_figures
    if name is Benchmark.SWAP:
        from quandary_server.bench.swap.figures import swap_figures
        from quandary_server.bench.swap.sizes import Sizes as SwapSizes

        return partial(swap_figures, sizes=SwapSizes().scaled(scale))
    if name is Benchmark.QUEUE:
        return partial(queue_figures, parts=parts, sizes=Sizes().scaled(scale), left_out=failed, measured=measured)
    if name is Benchmark.STREAM:
        from quandary_server.bench.stream.measures import stream_figures

        return partial(stream_figures, parts=parts, sizes=StreamSizes().scaled(scale), failed=failed)
    if name is Benchmark.TRAIN:
        return partial(train_figures, parts=parts, failed=failed, measured=measured)
    return partial(scoring_figures, parts=parts, environment=baal, failed=failed)
