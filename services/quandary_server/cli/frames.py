"""quandary simulate | score: frames in a folder of the KITTI layout."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quandary import Acquisition, Estimator, Frame, QuandaryError, ScoringOptions, result_score
from quandary.options import MAX_JITTERED_PROPOSALS
from quandary_server.cli.output import err, plain, print_error, print_json, print_table, progress_bar
from quandary_server.cli.session import MAX_SEED, DataOption, JsonOption, scoring_client, settings_of
from quandary_server.datasets.sources import ProposalSource

if TYPE_CHECKING:
    from quandary_server.datasets.kitti import KittiFolder


DEFAULT = ScoringOptions()

FolderArgument = Annotated[Path, typer.Argument(help="folder in the KITTI object layout", exists=True, file_okay=False)]
SplitOption = Annotated[str | None, typer.Option("--split", help="pool, control or evaluation; by default all")]
SourceOption = Annotated[
    ProposalSource,
    typer.Option("--proposals", help="labels: their 2D boxes and background; detections: the folder's 2D detections"),
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, max=MAX_SEED, help="seed")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(simulate)
    app.command()(score)


def simulate(
    folder: Annotated[Path, typer.Argument(help="folder to write; must be empty or missing", file_okay=False)],
    pool_drives: Annotated[int, typer.Option(min=0)] = 8,
    control_drives: Annotated[int, typer.Option(min=0)] = 3,
    evaluation_drives: Annotated[int, typer.Option(min=0)] = 3,
    frames: Annotated[int, typer.Option(min=1, help="frames per drive")] = 28,
    interval: Annotated[float, typer.Option(help="seconds between two frames of a drive")] = 1.0,
    seed: SeedOption = 0,
) -> None:
    """Write a simulated fleet: drives of a 64-beam LiDAR, with labels and imperfect 2D detections, in the KITTI layout."""
    from quandary_server.simulator.fleet import simulate_fleet
    from quandary_server.simulator.settings import FleetSettings

    if folder.exists() and any(folder.iterdir()):
        raise typer.BadParameter(f"{folder} is not empty", param_hint="FOLDER")
    settings = FleetSettings(pool_drives, control_drives, evaluation_drives, frames, interval, seed)
    with progress_bar("simulating", settings.drives * settings.frames_per_drive) as advance:
        entries = simulate_fleet(folder, settings, lambda done, _: advance(done))
    err.print(f"{len(entries)} frames of {settings.drives} drives in {folder}")


def score(
    folder: FolderArgument,
    split: SplitOption = None,
    source: SourceOption = ProposalSource.LABELS,
    estimator: Annotated[Estimator, typer.Option(help="how to sample")] = Estimator.ENSEMBLE_MC_DROPOUT,
    acquisition: Annotated[Acquisition | None, typer.Option(help="what makes an object worth a label")] = None,
    jittered: Annotated[
        int, typer.Option("--jittered-proposals", min=0, max=MAX_JITTERED_PROPOSALS, help="per object; stability needs them")
    ] = 0,
    share: Annotated[
        float, typer.Option("--escalate-share", help="for escalate: share of control crops that would get the full answer")
    ] = DEFAULT.escalate_share,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="score only the first frames")] = None,
    repeat: Annotated[bool, typer.Option("--repeat", help="begin again at the end, until Ctrl-C")] = False,
    top: Annotated[int, typer.Option("--top", min=1, help="rows of the table")] = 20,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stream frames through the scoring service and show the most uncertain; says when the answering generation changes."""
    from quandary_server.datasets.kitti import KittiFolder

    dataset = KittiFolder(folder)
    entries = dataset.frames(split)[:limit]
    options = ScoringOptions(estimator, acquisition, jittered_proposals=jittered, escalate_share=share)
    found: dict[str, dict[str, object]] = {}
    counts: Counter[str] = Counter()
    started, generation, broken = time.monotonic(), None, False
    try:
        with (
            scoring_client(settings_of(data)) as client,
            progress_bar("scoring", None if repeat else len(entries)) as advance,
            closing(client.stream_scores(_frames(dataset, [e.frame_id for e in entries], source, repeat), options)) as answers,
        ):
            for done, answer in enumerate(answers, start=1):
                result = answer.result
                if result.generation != generation:
                    generation = result.generation
                    err.print(f"answers come from {generation or 'no generation'}")
                counts[generation] += 1
                found[result.frame_id] = _row(result.frame_id, result.generation, result)
                counts["errors"] += "error" in found[result.frame_id]
                advance(done)
    except KeyboardInterrupt:
        err.print("interrupted")
    except QuandaryError as error:
        print_error(error)
        broken = True
    elapsed = time.monotonic() - started
    rows = sorted(found.values(), key=lambda row: -float(str(row.get("score", -1))))
    if as_json:
        print_json({"frames": rows, "answers": dict(counts), "seconds": round(elapsed, 3)})
        raise typer.Exit(int(broken))
    table = [
        (row["frame_id"], f"{row['score']:.4f}" if "score" in row else "-", row["objects"], row.get("error", ""))
        for row in rows[:top]
    ]
    print_table(["frame", "#score", "#objects", "~problem"], table, empty="no frames")
    answered = sum(count for name, count in counts.items() if name != "errors")
    err.print(f"{answered} answers in {elapsed:.1f} s, {counts['errors']} of them errors")
    raise typer.Exit(int(broken))


def _frames(dataset: "KittiFolder", frame_ids: list[str], source: ProposalSource, repeat: bool) -> Iterator[Frame]:
    from quandary_server.datasets.clouds import read_cloud
    from quandary_server.datasets.proposals import proposals_of

    while True:
        for frame_id in frame_ids:
            frame = dataset.read(frame_id)
            points = read_cloud(frame.cloud_path)
            yield Frame(
                frame_id, frame.calibration, proposals_of(frame, source, seed=0), points=points, drive_id=frame.drive_id
            )
        if not repeat:
            return


def _row(frame_id: str, generation: str, result: object) -> dict[str, object]:
    row: dict[str, object] = {"frame_id": frame_id, "generation": generation, "objects": 0}
    try:
        score = result_score(result)  # type: ignore[arg-type]
    except QuandaryError as error:
        print_error(error)
        return {**row, "error": str(error)}
    return {**row, "score": score.score, "objects": len(score.objects), "frame_score": plain(score)}
