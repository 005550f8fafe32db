"""The settings of a command, and its clients."""

import os
import socket
from pathlib import Path
from typing import Annotated, TypedDict

import grpc
import typer

from quandary import LabellingClient, ScoringClient, TrainingClient, Unauthenticated, Unavailable
from quandary_server.auth import admin_token
from quandary_server.settings import Settings, load_settings

CONNECT_TIMEOUT_S = 2.0
DATA_HELP = "directory of all state; by default QUANDARY_DATA or ./quandary-data"

MAX_SEED = 2**64 - 1

DataOption = Annotated[Path | None, typer.Option("--data", help=DATA_HELP, show_default=False, file_okay=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON in place of a table")]


class Access(TypedDict):
    """How every client gets in."""

    token: str
    credentials: grpc.ChannelCredentials | None


def check_file(path: Path | None, option: str) -> None:
    """Raise BadParameter where no file can be written at `path`: better before the work than after it; - is stdout."""
    if path is None or str(path) == "-":
        return
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise typer.BadParameter(
            f"{path} cannot be written: is there such a folder, and may you write there?", param_hint=option
        )


def settings_of(data: Path | None) -> Settings:
    """Return the settings, with the data directory of the command line."""
    return load_settings() if data is None else load_settings(data=data)


def token(settings: Settings) -> str:
    """Return the bearer token: QUANDARY_TOKEN, else the admin's of the data directory.

    Raises Unauthenticated where there is no token file, CorruptArtefact where it has no admin token.
    """
    if given := settings.token.get_secret_value():
        return given
    if not settings.tokens.exists():
        raise Unauthenticated(
            f"no token: set QUANDARY_TOKEN, or name the data directory of a running Quandary with --data "
            f"({settings.tokens} does not exist; `quandary up` makes it)"
        )
    return admin_token(settings.tokens)


def scoring_client(settings: Settings) -> ScoringClient:
    """Return a client of the scoring service."""
    return ScoringClient(_listening(settings, settings.scoring_target), **_access(settings))


def labelling_client(settings: Settings) -> LabellingClient:
    """Return a client of the selector."""
    return LabellingClient(_listening(settings, f"{settings.selector.host}:{settings.selector.port}"), **_access(settings))


def training_client(settings: Settings) -> TrainingClient:
    """Return a client of the trainer."""
    return TrainingClient(_listening(settings, f"{settings.trainer.host}:{settings.trainer.port}"), **_access(settings))


def _access(settings: Settings) -> Access:
    return {"token": token(settings), "credentials": settings.tls.credentials()}


def _listening(settings: Settings, own: str) -> str:
    """Return the front's address, or else the service's own, if somebody listens there.

    A person should not wait for the retries that a pipeline wants.
    """
    target = settings.target or own
    host, _, port = target.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S):
            return target
    except (OSError, ValueError, OverflowError):
        raise Unavailable(f"nothing answers at {target}: is `quandary up` running, with these settings?") from None
