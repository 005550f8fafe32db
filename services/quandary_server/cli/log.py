"""quandary log publish | tail | lag: the fleet log."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from google.protobuf.message import DecodeError

from quandary import convert
from quandary.v1 import fleet_log_pb2
from quandary_server.cli.frames import FolderArgument, SeedOption, SourceOption, SplitOption
from quandary_server.cli.output import err, out, print_json, print_table, progress_bar
from quandary_server.cli.session import DataOption, JsonOption, settings_of
from quandary_server.clock import now
from quandary_server.datasets.sources import ProposalSource

if TYPE_CHECKING:
    from quandary_server.storage.fleet_log import LogEntry

app = typer.Typer(help="Publish frame records to the fleet log, and look at it.", no_args_is_help=True)

BATCH = 100


@app.command()
def publish(
    folder: FolderArgument,
    split: SplitOption = None,
    source: SourceOption = ProposalSource.LABELS,
    seed: SeedOption = 0,
    data: DataOption = None,
) -> None:
    """Append the frames of a folder to the fleet log, in drive order. The clouds stay where they are."""
    from quandary_server.datasets.kitti import KittiFolder
    from quandary_server.datasets.proposals import proposals_of
    from quandary_server.datasets.records import frame_record
    from quandary_server.storage.fleet_log import LogRecord, SqliteFleetLog

    dataset, settings = KittiFolder(folder), settings_of(data)
    settings.data.mkdir(parents=True, exist_ok=True)
    entries = dataset.frames(split)
    with SqliteFleetLog.open(settings.fleet_log) as fleet_log, progress_bar("publishing", len(entries)) as advance:
        for start in range(0, len(entries), BATCH):
            frames = [dataset.read(entry.frame_id) for entry in entries[start : start + BATCH]]
            records = [frame_record(frame, proposals_of(frame, source, seed)) for frame in frames]
            payloads = [convert.record_message(record).SerializeToString() for record in records]
            fleet_log.append([LogRecord(r.frame_id, p) for r, p in zip(records, payloads, strict=True)], now=now())
            advance(start + len(frames))
    err.print(f"{len(entries)} frames published")


@app.command()
def tail(
    count: Annotated[int, typer.Option("-n", min=1, max=10_000, help="how many")] = 10,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the last records of the fleet log."""
    from quandary_server.storage.fleet_log import SqliteFleetLog

    with SqliteFleetLog.open(settings_of(data).fleet_log) as fleet_log:
        entries = fleet_log.read(max(fleet_log.end() - count, 0), count)
    rows = [_row(entry) for entry in entries]
    if as_json:
        print_json(rows)
        return
    table = [tuple(row.values()) for row in rows]
    print_table(["#position", "?appended", "frame", "drive", "?#proposals", "~cloud"], table, empty="the log is empty")


@app.command()
def lag(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Show how far the selector is behind the fleet log."""
    from quandary_server.storage.fleet_log import SqliteFleetLog

    settings = settings_of(data)
    with SqliteFleetLog.open(settings.fleet_log) as fleet_log, settings.open_store() as store:
        end, applied = fleet_log.end(), store.intake.offset(fleet_log.name)
    if as_json:
        print_json({"end": end, "applied": applied, "lag": end - applied})
    else:
        out.print(f"end {end}, applied {applied}, lag {end - applied}")


def _row(entry: "LogEntry") -> dict[str, object]:
    row: dict[str, object] = {
        "position": entry.position,
        "appended": _local(entry.appended),
        "frame_id": entry.frame_id,
    }
    try:
        message = fleet_log_pb2.FrameRecord.FromString(entry.payload)
    except DecodeError:
        return {**row, "drive_id": "", "proposals": "", "cloud_uri": "unreadable: the payload is no FrameRecord"}
    return {
        **row,
        "drive_id": message.drive_id,
        "proposals": len(message.proposals),
        "cloud_uri": message.cloud_uri,
    }


def _local(time: datetime) -> str:
    return time.astimezone().isoformat(sep=" ", timespec="seconds")
