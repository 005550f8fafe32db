"""A selector in a process of its own that streams a log from end to end, and what it takes on the way."""

import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from quandary.errors import Unavailable
from quandary_server.auth import ensure_tokens
from quandary_server.bench.progress import Told
from quandary_server.bench.queue.selector_process import selector_process
from quandary_server.bench.scoring_process import ScoringProcess
from quandary_server.bench.stream.records import fill_log
from quandary_server.cluster import free_ports
from quandary_server.settings import Settings, load_settings
from quandary_server.storage.log_settings import LogKind

ANSWERING = ("quandary_server.bench.stream.answering",)
LOOK_EVERY_S = 0.05
STALLED_S = 120.0


@dataclass(frozen=True)
class Look:
    """What a selector had done by some time: frames in the queue, its CPU, its resident memory."""

    frames: int
    cpu_s: float
    resident_mb: float
    time_s: float


@contextmanager
def answering_service() -> Iterator[ScoringProcess]:
    """Return a scoring service that answers without computing, in a process of its own."""
    with ScoringProcess(ANSWERING) as service:
        yield service


@contextmanager
def streaming_settings(scoring: str, kind: LogKind) -> Iterator[Settings]:
    """Return the settings of a selector with an empty store, whose frames are all scored: no drive is kept for control."""
    with tempfile.TemporaryDirectory(prefix="quandary-bench-") as folder:
        port, metrics_port = free_ports(2)
        selector = {"port": port, "metrics_port": metrics_port, "scoring_target": scoring, "control_share": 0.0}
        settings = load_settings(data=Path(folder), selector=selector | {"log_kind": kind})
        ensure_tokens(settings.tokens)
        settings.open_store().close()
        yield settings


def streamed(scoring: str, kind: LogKind, count: int, points: int, told: Told) -> list[Look]:
    """Return looks at a selector while `count` frames with clouds of so many points stream through it, the last at the end."""
    with ExitStack() as stack:
        settings = stack.enter_context(streaming_settings(scoring, kind))
        fill_log(settings, count, points, told)
        selector = stack.enter_context(selector_process(settings))
        return list(looks_at(settings, selector.pid, count, told))


def looks_at(settings: Settings, pid: int, count: int, told: Told) -> Iterator[Look]:
    """Yield a look at the selector whenever frames have come in, until all have. Raises Unavailable where none come now."""
    process, moved, frames = psutil.Process(pid), time.monotonic(), -1
    with closing(sqlite3.connect(f"{settings.database.as_uri()}?mode=ro", uri=True)) as store:
        while frames < count:
            found = _frames(store)
            if found > frames:
                moved, frames = time.monotonic(), found
                told(f"streaming by {settings.selector.log_kind}", found, count)
                times = process.cpu_times()
                yield Look(found, times.user + times.system, process.memory_info().rss / 2**20, moved)
            elif time.monotonic() - moved > STALLED_S:
                raise Unavailable(f"the selector stopped at frame {frames} of {count}; its log: {settings.data}/selector.log")
            threading.Event().wait(LOOK_EVERY_S)


def _frames(store: sqlite3.Connection) -> int:
    # counting them would take longer the more there are
    (last,) = store.execute("SELECT max(rowid) FROM frames").fetchone()
    return last or 0


def every(looks: Sequence[Look], frames: int, behind: int) -> list[Look]:
    """Return the first look at or after each multiple of `frames`, those at fewer than `behind` left out."""
    found: list[Look] = []
    for look in looks:
        if look.frames >= (found[-1].frames + frames if found else behind):
            found.append(look)
    return found
