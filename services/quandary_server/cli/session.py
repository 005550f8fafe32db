"""The settings of a command, and its clients."""

import socket
from pathlib import Path
from typing import Annotated

import typer

from quandary import LabellingClient, ScoringClient, TrainingClient, Unauthenticated, Unavailable
from quandary_server.auth import Role, read_tokens
from quandary_server.settings import Settings, load_settings

CONNECT_TIMEOUT_S = 2.0
DATA_HELP = "directory of all state; by default QUANDARY_DATA or ./quandary-data"

DataOption = Annotated[Path | None, typer.Option("--data", help=DATA_HELP, show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON in place of a table")]


def settings_of(data: Path | None) -> Settings:
    """Return the settings, with the data directory of the command line."""
    return load_settings() if data is None else load_settings(data=data)


def token(settings: Settings) -> str:
    """Return the bearer token: QUANDARY_TOKEN, else the admin's of the data directory; raises Unauthenticated."""
    if given := settings.token.get_secret_value():
        return given
    try:
        tokens = read_tokens(settings.tokens)
    except FileNotFoundError:
        raise Unauthenticated(
            f"no token: set QUANDARY_TOKEN, or name the data directory of a running Quandary with --data "
            f"({settings.tokens} does not exist; `quandary up` makes it)"
        ) from None
    return next(found.token for found in tokens if Role.ADMIN in found.roles)


def scoring_client(settings: Settings) -> ScoringClient:
    """Return a client of the scoring service."""
    return ScoringClient(_listening(settings.scoring_target), token=token(settings))


def labelling_client(settings: Settings) -> LabellingClient:
    """Return a client of the selector."""
    target = _listening(f"{settings.selector.host}:{settings.selector.port}")
    return LabellingClient(target, token=token(settings))


def training_client(settings: Settings) -> TrainingClient:
    """Return a client of the trainer."""
    target = _listening(f"{settings.trainer.host}:{settings.trainer.port}")
    return TrainingClient(target, token=token(settings))


def _listening(target: str) -> str:
    """Return the target if somebody listens there: a person should not wait for the retries that a pipeline wants."""
    host, _, port = target.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S):
            return target
    except OSError:
        raise Unavailable(f"nothing answers at {target}: is `quandary up` running, with these settings?") from None
