"""quandary log publish | tail | lag | rejected: the fleet log, whatever holds it."""

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from google.protobuf.message import DecodeError

from quandary import convert
from quandary.v1 import fleet_log_pb2
from quandary_server.cli.frames import FolderArgument, SeedOption, SourceOption, SplitOption
from quandary_server.cli.output import err, print_json, print_table, progress_bar
from quandary_server.cli.session import DataOption, JsonOption, settings_of
from quandary_server.clock import now
from quandary_server.datasets.sources import ProposalSource

if TYPE_CHECKING:
    from quandary_server.storage.frame_log import LogEntry, SourceLag

app = typer.Typer(help="Publish frame records to the fleet log, and look at it.", no_args_is_help=True)

BATCH = 100
PUBLISH = "`quandary log publish FOLDER` appends the frames of a folder"


@app.command()
def publish(
    folder: FolderArgument,
    split: SplitOption = None,
    source: SourceOption = ProposalSource.LABELS,
    seed: SeedOption = 0,
    data: DataOption = None,
) -> None:
    """Append the frames of a folder to the fleet log, in drive order.

    The clouds stay where they are; MCAP files hold them beside their records.
    """
    from quandary_server.datasets.kitti import KittiFolder
    from quandary_server.datasets.proposals import proposals_of
    from quandary_server.datasets.records import frame_record
    from quandary_server.selector.open_log import log_writer
    from quandary_server.storage.frame_log import LogRecord

    dataset = KittiFolder(folder)
    entries = dataset.frames(split)
    with log_writer(settings_of(data)) as fleet_log, progress_bar("publishing", len(entries)) as advance:
        for start in range(0, len(entries), BATCH):
            frames = [dataset.read(entry.frame_id) for entry in entries[start : start + BATCH]]
            records = [frame_record(frame, proposals_of(frame, source, seed)) for frame in frames]
            payloads = [convert.record_message(record).SerializeToString() for record in records]
            logged = [LogRecord(r.frame_id, p, r.drive_id) for r, p in zip(records, payloads, strict=True)]
            fleet_log.append(logged, now=now())
            advance(start + len(frames))
    err.print(f"{len(entries)} frames published")


@app.command()
def tail(
    count: Annotated[int, typer.Option("-n", min=1, max=10_000, help="how many")] = 10,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the last records of the fleet log."""
    from quandary_server.selector.open_log import look_at_log

    with look_at_log(settings_of(data), None, now) as fleet_log:
        entries = fleet_log.tail(count)
    rows = [_row(entry) for entry in entries]
    if as_json:
        print_json(rows)
        return
    table = [tuple(row.values()) for row in rows]
    columns = ["#position", "?appended", "frame", "drive", "?#proposals", "~cloud"]
    print_table(columns, table, empty=f"the log is empty: {PUBLISH}")


@app.command()
def lag(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Show how far the selector is behind each source of the fleet log, and what of it cannot be read."""
    from quandary_server.selector.open_log import check_begun, look_at_log

    settings = settings_of(data)
    check_begun(settings)  # before there is a store for it
    with settings.open_store() as store, look_at_log(settings, store, now) as fleet_log:
        found = fleet_log.lags(store.intake.offset)
    total = sum(lag.waiting for lag in found)
    if as_json:
        print_json({"lag": total, "sources": [_lag(lag) for lag in found]})
        return
    table = [tuple(_lag(lag).values()) for lag in found]
    print_table(["source", "#applied", "#lag", "?state", "~problem"], table, empty=f"the log has no files yet: {PUBLISH}")
    err.print(f"{total} records wait")


@app.command()
def rejected(
    count: Annotated[int, typer.Option("-n", min=1, max=10_000, help="how many")] = 20,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the records that were refused last, and why. Mend their producer, and publish those frames again."""
    from quandary_server.storage.opening import check_there, url_of

    settings = settings_of(data)
    check_there(url_of(settings.store_place))
    with settings.open_store() as store:
        found = store.intake.last_rejected(count)
    rows = [{**asdict(entry), "time": _local(entry.time)} for entry in found]
    if as_json:
        print_json(rows)
        return
    table = [(row["time"], row["frame_id"], row["log"], row["position"], row["reason"]) for row in rows]
    print_table(["?time", "frame", "?source", "?#position", "~reason"], table, empty="no record was refused")


def _lag(lag: "SourceLag") -> dict[str, object]:
    return {"source": lag.source, "applied": lag.applied, "lag": lag.waiting, "state": lag.state, "problem": lag.problem}


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
