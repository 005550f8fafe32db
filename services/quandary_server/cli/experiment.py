"""quandary experiment run | report | study: active learning replayed, with error bars."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quandary_server.cli.bench import print_figures
from quandary_server.cli.output import out, print_json, progress_bar
from quandary_server.cli.session import check_file
from quandary_server.settings import load_settings

if TYPE_CHECKING:
    from quandary_server.experiment.folder import ExperimentFolder

app = typer.Typer(help="Replay active learning on labelled frames: labels saved, with error bars.", no_args_is_help=True)

UNMET = 1

OutOption = Annotated[
    Path, typer.Option("--out", help="folder of the experiment; a run that was stopped goes on there", file_okay=False)
]


@app.command()
def run(
    config: Annotated[
        str, typer.Argument(help="a YAML file, or a packaged experiment: full or quick", show_default=False)
    ] = "",
    folder: OutOption = Path("quandary-experiment"),
    quick: Annotated[bool, typer.Option("--quick", help="the packaged quick experiment: the sign of the main effect")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="write every figure to this file")] = None,
) -> None:
    """Run an experiment, or what is missing of it; write tables, figures and report. Exit code 1 where a bar is not met."""
    from quandary_server.cluster import running_cluster
    from quandary_server.experiment.folder import ExperimentFolder
    from quandary_server.experiment.runner import Experiment
    from quandary_server.experiment.settings import load_experiment

    if quick == bool(config):
        raise typer.BadParameter("name an experiment, or give --quick: one of them", param_hint="CONFIG")
    check_file(json_file, "--json")
    name = "quick" if quick else config
    settings = load_experiment(name)
    where = ExperimentFolder(folder)
    where.claim(settings)
    with running_cluster(load_settings()), progress_bar(settings.title, None) as advance:
        Experiment(settings, where).run(
            lambda what, done, total: advance(done, f"{what} ({done} of {total} drives)"),
            lambda done, total, what: advance(done, what, total),
        )
    _finish(where, f"quandary experiment run {name}", json_file)


@app.command()
def report(
    folder: OutOption = Path("quandary-experiment"),
    json_file: Annotated[Path | None, typer.Option("--json", help="write every figure to this file")] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="draw from this file of figures, not from a folder", dir_okay=False, exists=True),
    ] = None,
) -> None:
    """Write tables, figures and report of what was run so far, or draw again from a file of figures."""
    from quandary_server.experiment.folder import ExperimentFolder
    from quandary_server.experiment.report.page import write_report

    check_file(json_file, "--json")
    if source is not None:
        out.print(f"report: {write_report(source, folder).resolve()}")
        return
    where = ExperimentFolder(folder)
    where.settings()
    _finish(where, f"quandary experiment report --out {folder.name}", json_file)


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
