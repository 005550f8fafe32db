"""quandary demo: the main job from end to end."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from quandary_server.cli.bench import print_figures
from quandary_server.cli.output import err, out, print_table, progress_bar
from quandary_server.cli.session import check_file
from quandary_server.datasets.sources import ProposalSource

FAILED = 1
MAX_SEED = 2**63 - 1  # every round has a seed of its own, which counts up from it


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    kitti: Annotated[
        Path | None,
        typer.Option("--kitti", help="real frames in the KITTI layout, with frames.csv", exists=True, file_okay=False),
    ] = None,
    proposals: Annotated[ProposalSource, typer.Option(help="where the 2D proposals come from")] = ProposalSource.LABELS,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="rounds of labelling and training after the first")] = 4,
    first: Annotated[int, typer.Option(min=10, help="labelled crops that both arms begin with")] = 100,
    budget: Annotated[int, typer.Option(min=1, help="labelled crops that each arm adds per round")] = 100,
    members: Annotated[int, typer.Option(min=1, max=32)] = 3,
    steps: Annotated[int, typer.Option(min=1, max=1_000_000, help="training steps per member and round")] = 150,
    frames: Annotated[int, typer.Option(min=1, max=1000, help="frames per simulated drive")] = 28,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED)] = 0,
    folder: Annotated[
        Path, typer.Option("--out", help="folder for data and picture; must be empty or missing", file_okay=False)
    ] = Path("quandary-demo"),
    json_file: Annotated[Path | None, typer.Option("--json", help="write every figure to this file")] = None,
) -> None:
    """Stream a fleet in, label what the queue asks for, retrain and hot-swap, round after round, beside random sampling."""
    from quandary_server.bench.figures import write_document
    from quandary_server.experiment.demo.report import draw, outcome_figures
    from quandary_server.experiment.demo.settings import DemoSettings
    from quandary_server.experiment.demo.story import Demo
    from quandary_server.simulator.settings import FleetSettings

    if folder.exists() and any(folder.iterdir()):
        raise typer.BadParameter(f"{folder} is not empty; remove it or name another with --out", param_hint="--out")
    folder.mkdir(parents=True, exist_ok=True)
    check_file(json_file, "--json")
    settings = DemoSettings(
        folder,
        kitti,
        proposals,
        FleetSettings(frames_per_drive=frames, seed=seed),
        rounds,
        first,
        budget,
        members=members,
        steps=steps,
        seed=seed,
    )
    outcome = Demo(settings, err.print, progress_bar).run()

    rows = [
        (a.labels, r.labels, f"{a.macro_recall:.3f}", f"{r.macro_recall:.3f}", f"{a.nll:.3f}", f"{r.nll:.3f}",
         f"{a.median_centre_error_m:.2f}", f"{r.median_centre_error_m:.2f}")
        for a, r in zip(outcome.active.points, outcome.random.points, strict=True)
    ]  # fmt: skip
    measured = ("labels", "macro recall", "NLL\n(nats)", "median centre\nerror (m)")
    columns = [column for name in measured for column in (f"#{name}", "#random")]
    print_table(columns, rows, empty="", title="on the evaluation drives, active beside random sampling")
    failed = sum(outcome.loop.problems.values())
    swaps = len(set(outcome.generations)) - 1
    out.print(f"{outcome.loop.answers.total()} frames scored meanwhile through {swaps} swaps, {failed} failed")
    figures = outcome_figures(outcome)
    picture = folder / "demo.png"
    fleet = f"KITTI, proposals from {proposals}" if kitti else "simulated fleet"
    draw(outcome, picture, f"Quandary: {fleet}, {members} members, {steps} steps a round, seed {seed}")
    if json_file is not None:
        write_document(json_file, figures, _command(kitti, proposals, rounds, first, budget, members, steps, frames, seed))
    print_figures([figure for figure in figures if figure.reach])
    out.print(f"picture: {picture.resolve()}")
    if any(figure.met is False for figure in figures if figure.name == "failed_answers"):
        sys.exit(FAILED)


def _command(
    kitti: Path | None, proposals: str, rounds: int, first: int, budget: int, members: int, steps: int, frames: int, seed: int
) -> str:
    source = f"--kitti DIR --proposals {proposals}" if kitti else f"--frames {frames}"
    sizes = f"--rounds {rounds} --first {first} --budget {budget} --members {members} --steps {steps} --seed {seed}"
    return f"quandary demo {source} {sizes}"
