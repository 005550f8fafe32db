"""How long a frame takes from the fleet log into the queue while the fleet publishes, one record after the other."""

import sqlite3
import threading
from contextlib import closing
from datetime import datetime

import numpy as np

from quandary_server.bench.figures import Figure, reported
from quandary_server.bench.progress import Told
from quandary_server.bench.queue.selector_process import selector_process
from quandary_server.bench.stream.records import POINTS, frame_records, logged
from quandary_server.bench.stream.sizes import StreamSizes
from quandary_server.bench.stream.streaming import looks_at, streaming_settings
from quandary_server.clock import now
from quandary_server.selector.open_log import log_writer
from quandary_server.settings import Settings
from quandary_server.storage.log_settings import LogKind

PER_SECOND = 50
TIMES = "SELECT appended, enqueued FROM log.entries JOIN tasks USING (frame_id)"


def live_figures(told: Told, sizes: StreamSizes, scoring: str) -> list[Figure]:
    """Return the time from a record's append to its task, of records that come evenly, and how many share a transaction."""
    with streaming_settings(scoring, LogKind.SQLITE) as settings:
        records = frame_records(settings.data / "clouds", POINTS)
        with log_writer(settings) as writer, selector_process(settings) as selector:
            for number in range(sizes.live):
                told("publishing as a fleet does", number, sizes.live)
                writer.append([logged(next(records))], now=now())
                threading.Event().wait(1 / PER_SECOND)
            for _ in looks_at(settings, selector.pid, sizes.live, told):
                pass
        times = _times(settings)
    lags_ms = [(enqueued - appended).total_seconds() * 1e3 for appended, enqueued in times]
    unit = f"ms from append to task, at most {PER_SECOND} frames/s"
    return [
        reported("lag_p50_ms", float(np.percentile(lags_ms, 50)), unit),
        reported("lag_p99_ms", float(np.percentile(lags_ms, 99)), unit),
        reported("frames_per_transaction", len(times) / len({enqueued for _, enqueued in times}), "frames, the same"),
    ]


def _times(settings: Settings) -> list[tuple[datetime, datetime]]:
    """Return when each record was appended and its task made."""
    with closing(sqlite3.connect(settings.database)) as store:
        store.execute("ATTACH ? AS log", [str(settings.fleet_log)])
        return [(datetime.fromisoformat(appended), datetime.fromisoformat(made)) for appended, made in store.execute(TIMES)]
