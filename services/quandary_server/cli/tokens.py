"""quandary token make | list | rotate | revoke: they write the files of the data directory; services read those again."""

from datetime import datetime, timedelta
from typing import Annotated

import typer

from quandary_server.auth import Issued, Role, Token, ensure_tokens, issue_token, read_tokens, revoke_token, rotate_token
from quandary_server.cli.output import err, out, print_json, print_table
from quandary_server.cli.session import DataOption, JsonOption, settings_of
from quandary_server.clock import now

app = typer.Typer(help="Bearer tokens: who may call, and what. Changes hold at once, without a restart.", no_args_is_help=True)

EXPIRES_SOON = timedelta(days=14)

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="id of the token, as `quandary token list` shows it")]


@app.command()
def make(
    subject: Annotated[str, typer.Argument(help="whom it names; the audit records it")],
    roles: Annotated[list[Role], typer.Option("--role", help="what it allows; repeat for several")],
    days: Annotated[float, typer.Option(min=0.0, max=3650.0, help="how long it is valid; 0: for good")] = 365.0,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token and print it: the only time that anybody can."""
    settings = settings_of(data)
    ensure_tokens(settings.tokens)
    lifetime = timedelta(days=days) if days else None
    _tell(issue_token(settings.tokens, subject, roles, time=now(), lifetime=lifetime), as_json)


@app.command("list")
def list_(data: DataOption = None, as_json: JsonOption = False) -> None:
    """List tokens: whom they name and until when, never what they are."""
    tokens, time = read_tokens(settings_of(data).tokens), now()
    if as_json:
        print_json([_described(token, time) for token in tokens])
        return
    rows = [(t.id, t.subject, ", ".join(t.roles), _date(t.created), _date(t.expires), _state(t, time)) for t in tokens]
    print_table(["id", "subject", "roles", "?made (UTC)", "expires (UTC)", "state"], rows, empty="no tokens")


@app.command()
def rotate(
    token_id: IdArgument,
    overlap_hours: Annotated[float, typer.Option(min=0.0, max=8760.0, help="how long the old one is valid yet")] = 24.0,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the successor of a token and print it; the old one is valid yet for a while."""
    path = settings_of(data).tokens
    _tell(rotate_token(path, token_id, time=now(), overlap=timedelta(hours=overlap_hours)), as_json)


@app.command()
def revoke(token_id: IdArgument, data: DataOption = None) -> None:
    """Refuse a token from now on; streams that it opened end with their next answer."""
    revoked = revoke_token(settings_of(data).tokens, token_id, time=now())
    out.print(f"{revoked.id} of {revoked.subject} is revoked")


def _tell(issued: Issued, as_json: bool) -> None:
    if as_json:
        print_json({**_described(issued.record, now()), "token": issued.token})
        return
    record = issued.record
    until = f"until {_date(record.expires)} UTC" if record.expires else "for good"
    # the token alone on stdout, for a shell to catch
    err.print(
        f"{record.id}: {record.subject} as {', '.join(record.roles)}, {until}; the token is shown this once", markup=False
    )
    out.print(issued.token, markup=False)


def _described(token: Token, time: datetime) -> dict[str, object]:
    return {**token.model_dump(mode="json", exclude={"sha256"}), "state": _state(token, time)}


def _state(token: Token, time: datetime) -> str:
    if token.has_expired(time):
        return "expired"
    return "expires soon" if token.has_expired(time + EXPIRES_SOON) else "valid"


def _date(time: datetime | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M") if time else "never"
