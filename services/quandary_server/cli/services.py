"""quandary up | scoring | selector | trainer: the services."""

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Annotated

import typer

from quandary_server.auth import admin_file, ensure_tokens
from quandary_server.cli.output import out, print_table
from quandary_server.cli.session import DataOption, settings_of
from quandary_server.settings import Settings

ParentOption = Annotated[int | None, typer.Option("--parent", hidden=True)]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (up, scoring, selector, trainer):
        app.command()(command)


def up(data: DataOption = None) -> None:
    """Run all three services on this machine until Ctrl-C."""
    from quandary_server.stack import Stack

    settings = settings_of(data)
    with Stack(settings, _say) as stack:
        stop = _stop_event(lambda: _say("stopping ..."))
        _say("starting Ray and the services ...")
        if stack.start(stop):
            _tell(settings)
            stop.wait()


def scoring(data: DataOption = None, parent: ParentOption = None) -> None:
    """Run the scoring service (Ray Serve) until Ctrl-C."""
    from quandary_server.cluster import check_ports, start_cluster
    from quandary_server.scoring.service import start_scoring, stop_scoring

    settings = _prepare(data, parent)
    if not settings.ray.address:
        # Ray would wait half a minute for its own agent, and then tell of no port
        check_ports(settings, ["scoring"])
    start_cluster(settings, metrics_port=settings.scoring.metrics_port)
    stop = _stop_event()
    start_scoring(settings)
    stop.wait()
    stop_scoring()


def selector(data: DataOption = None, parent: ParentOption = None) -> None:
    """Run the selector (fleet log to ranked queue) until Ctrl-C."""
    from quandary_server.selector.service import serve_selector

    asyncio.run(serve_selector(_prepare(data, parent)))


def trainer(data: DataOption = None, parent: ParentOption = None) -> None:
    """Run the trainer until Ctrl-C."""
    from quandary_server.cluster import start_cluster
    from quandary_server.trainer.service import serve_trainer

    settings = _prepare(data, parent)
    start_cluster(settings)
    asyncio.run(serve_trainer(settings))


def _prepare(data: DataOption, parent: int | None) -> Settings:
    from quandary_server.logs import configure_logging
    from quandary_server.supervisor import end_with

    configure_logging()
    if parent is not None:
        end_with(parent)
    return settings_of(data)


def _stop_event(told: Callable[[], None] = lambda: None) -> threading.Event:
    """Return what SIGINT, SIGTERM and SIGHUP set; told: called at the first of them."""
    stop = threading.Event()

    def tell(*_: object) -> None:
        if not stop.is_set():
            told()
        stop.set()

    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, tell)
    return stop


def _say(line: str) -> None:
    # one unbuffered write, for a signal may come amid another; and the terminal may be gone: what runs must still be ended
    with contextlib.suppress(OSError):
        os.write(sys.stderr.fileno(), f"{line}\n".encode())


def _tell(settings: Settings) -> None:
    scoring, selector, trainer = settings.scoring, settings.selector, settings.trainer
    rows = [
        ("scoring", f"{scoring.host}:{scoring.port}", f"http://{scoring.host}:{scoring.metrics_port}/metrics"),
        ("selector", f"{selector.host}:{selector.port}", f"http://{selector.host}:{selector.metrics_port}/metrics"),
        ("trainer", f"{trainer.host}:{trainer.port}", f"http://{trainer.host}:{trainer.metrics_port}/metrics"),
    ]
    print_table(["service", "gRPC", "metrics"], rows, empty="")
    ensure_tokens(settings.tokens)
    file = admin_file(settings.tokens).resolve()
    out.print(f"data    {settings.data.resolve()}\ntoken   {file} (mode 0600; the commands here read it)")
    out.print("Ctrl-C stops everything.")
