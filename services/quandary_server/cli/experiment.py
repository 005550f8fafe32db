"""quandary experiment run | report | study | match: active learning replayed, with error bars."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quandary_server.cli.bench import print_figures
from quandary_server.cli.output import out, print_json, print_table, progress_bar
from quandary_server.cli.session import check_file
from quandary_server.cli.stopping import Reached, stoppable
from quandary_server.settings import load_settings

if TYPE_CHECKING:
    from quandary_server.bench.figures import Figure
    from quandary_server.experiment.folder import ExperimentFolder
    from quandary_server.experiment.pools.build import Told
    from quandary_server.experiment.window import Progress

app = typer.Typer(help="Replay active learning on labelled frames: labels saved, with error bars.", no_args_is_help=True)

UNMET = 1

NOT_KEPT = "frames and crops are kept, trainings are not\nthe same command begins these again"

ONLY_HELP = "a replay to run, and no other, or held_out: the trainings without a class; may be repeated"

OutOption = Annotated[
    Path, typer.Option("--out", help="folder of the experiment; a run that was stopped goes on there", file_okay=False)
]

PoolsOption = Annotated[
    Path, typer.Option("--out", help="folder of an experiment: simulated frames and crops are kept below it", file_okay=False)
]

KittiOption = Annotated[
    Path | None,
    typer.Option(
        "--kitti",
        help="real frames in the KITTI layout, with frames.csv; by default those of QUANDARY_KITTI",
        exists=True,
        file_okay=False,
        show_default=False,
    ),
]


@app.command()
def run(
    config: Annotated[
        str, typer.Argument(help="a YAML file, or a packaged experiment: full, quick, query or served", show_default=False)
    ] = "",
    folder: OutOption = Path("quandary-experiment"),
    quick: Annotated[bool, typer.Option("--quick", help="the packaged quick experiment: the sign of the main effect")] = False,
    only: Annotated[list[str] | None, typer.Option("--only", help=ONLY_HELP)] = None,
    method: Annotated[
        list[str] | None, typer.Option("--method", help="a method to run beside random, and no other; may be repeated")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", help="run each method on at most so many seeds, the first", min=1)
    ] = None,
    any_code: Annotated[
        bool, typer.Option("--any-code", help="go on in a folder that other code began; settings and queries must be its own")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="write every figure to this file")] = None,
) -> None:
    """Run an experiment, or what is missing of it; write tables, figures and report. Exit code 1 where a bar is not met."""
    from quandary_server.experiment.settings import load_experiment

    if quick == bool(config):
        raise typer.BadParameter("name an experiment, or give --quick: one of them", param_hint="CONFIG")
    check_file(json_file, "--json")
    name = "quick" if quick else config
    settings = load_experiment(name).part(only or (), method or (), seeds)

    reached = Reached("round")
    with stoppable(lambda: f"{reached}, kept in {folder}\nthe same command goes on"):
        # torch and Ray take seconds to import: mistakes are told before
        from quandary_server.experiment.folder import ExperimentFolder
        from quandary_server.experiment.runner import Experiment

        where = ExperimentFolder(folder)
        experiment = Experiment(settings, where, any_code=any_code)
        with _watched(settings.title, reached) as (told, progress):
            experiment.run(told, progress)
        _finish(where, _run_command(name, only, method, seeds), json_file)


def _run_command(name: str, only: list[str] | None, method: list[str] | None, seeds: int | None) -> str:
    chosen = [f" --only {each}" for each in only or ()] + [f" --method {each}" for each in method or ()]
    chosen += [f" --seeds {seeds}"] if seeds else []
    return f"quandary experiment run {name}{''.join(chosen)}"


@app.command()
def report(
    folder: OutOption = Path("quandary-experiment"),
    json_file: Annotated[Path | None, typer.Option("--json", help="write every figure to this file")] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="draw from this file of figures, not from a folder", dir_okay=False, exists=True),
    ] = None,
) -> None:
    """Write tables, figures and report of what was run so far, or draw again from a file of figures.

    Of a folder, exit code 1 where a bar is not met.
    """
    check_file(json_file, "--json")
    from quandary_server.experiment.folder import ExperimentFolder
    from quandary_server.experiment.report.page import write_report

    if source is not None:
        if json_file is not None:
            raise typer.BadParameter("the figures are in that file already", param_hint="--json with --from")
        out.print(f"report: {write_report(source, folder).resolve()}")
        return
    where = ExperimentFolder(folder)
    where.settings()
    _finish(where, f"quandary experiment report --out {folder.name}", json_file)


@app.command()
def study(
    kitti: KittiOption = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="trainings of each variant")] = 2,
    folder: PoolsOption = Path("quandary-experiment"),
    json_file: Annotated[Path | None, typer.Option("--json", help="write every figure to this file")] = None,
) -> None:
    """Compare sizes and recipes of the detector on control drives, simulated and, where they are given, real."""
    check_file(json_file, "--json")
    reached = Reached("training")
    with stoppable(lambda: f"{reached}; {NOT_KEPT}"):
        from quandary_server.experiment.folder import ExperimentFolder
        from quandary_server.experiment.study.sources import real_frames
        from quandary_server.experiment.study.trial_figures import COLUMNS, TITLES, study_figures, study_rows
        from quandary_server.experiment.study.trials import StudySettings, studied

        settings = StudySettings(seeds, real_frames(kitti))
        with _watched("detector study", reached) as (told, progress):
            trials = studied(settings, ExperimentFolder(folder).pools, told, progress)
    figures = study_figures(settings, trials)
    real = " --kitti DIR" if settings.kitti else ""
    if _kept(figures, f"quandary experiment study{real} --seeds {seeds}", json_file):
        for source in settings.sources:
            print_table(COLUMNS, study_rows(settings, figures, source), empty="no variants", title=TITLES[source])


@app.command()
def match(
    kitti: KittiOption = None,
    folder: PoolsOption = Path("quandary-experiment"),
    json_file: Annotated[Path | None, typer.Option("--json", help="write every figure to this file")] = None,
) -> None:
    """Hold the simulator against real frames: looks, and what a net learns of each. Exit code 1 where they differ too much."""
    check_file(json_file, "--json")
    reached = Reached("task")
    with stoppable(lambda: f"{reached}; {NOT_KEPT}"):
        from quandary_server.experiment.folder import ExperimentFolder
        from quandary_server.experiment.pools.build import kitti_folder
        from quandary_server.experiment.study.match import MatchSettings, matched
        from quandary_server.experiment.study.match_figures import (
            LOOKS_COLUMNS,
            RECALL_COLUMNS,
            looks_rows,
            match_figures,
            recall_rows,
        )

        settings = MatchSettings(kitti_folder(str(kitti or "")))
        with _watched("simulator and real frames", reached) as (told, progress):
            found = matched(settings, ExperimentFolder(folder).pools, told, progress)
    figures = match_figures(found)
    if _kept(figures, "quandary experiment match --kitti DIR", json_file):
        print_table(LOOKS_COLUMNS, looks_rows(figures), empty="", title="looks: real frames, simulated fleet, all of KITTI")
        print_table(RECALL_COLUMNS, recall_rows(figures), empty="", title="recall on drives that training never saw")
        print_figures([figure for figure in figures if figure.reach])
    if any(figure.met is False for figure in figures):
        sys.exit(UNMET)


@contextmanager
def _watched(title: str, reached: Reached) -> "Iterator[tuple[Told, Progress]]":
    """Be in a Ray, with a bar, while the body runs; yields what is told of drives, and of what is done."""
    from quandary_server.cluster import running_cluster

    with running_cluster(load_settings()), progress_bar(title, None) as advance:

        def told(what: str, done: int, total: int) -> None:
            advance(done, f"{what} ({done} of {total} drives)")

        def progress(done: int, total: int, what: str) -> None:
            reached.note(done, total)
            advance(done, what, total)

        yield told, progress


def _kept(figures: "list[Figure]", command: str, json_file: Path | None) -> bool:
    """Write the figures where that is asked for; return whether there are tables to print, or stdout is JSON's."""
    from quandary_server.bench.figures import document, write_document

    if str(json_file) == "-":
        print_json(document(figures, command))
        return False
    if json_file is not None:
        write_document(json_file, figures, command)
    return True


def _finish(folder: "ExperimentFolder", command: str, json_file: Path | None) -> None:
    """Write tables, figures and report of a folder; tell what meets its bar."""
    from quandary_server.bench.figures import document, write_document
    from quandary_server.experiment.report.page import write_report
    from quandary_server.experiment.results.figures import experiment_figures
    from quandary_server.experiment.results.tables import write_tables

    results = folder.root / "results"
    write_tables(folder, results)
    figures = experiment_figures(folder)
    write_document(results / "experiment.json", figures, command)
    if str(json_file) == "-":
        print_json(document(figures, command))
    elif json_file is not None:
        write_document(json_file, figures, command)
    page = write_report(results / "experiment.json", results)
    if str(json_file) != "-":
        print_figures([figure for figure in figures if figure.reach])
        out.print(f"report: {page.resolve()}")
    if any(figure.met is False for figure in figures):
        sys.exit(UNMET)
