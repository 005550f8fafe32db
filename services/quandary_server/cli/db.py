"""quandary db current | upgrade | check | copy: the schema of the store's database."""

from typing import Annotated

import typer

from quandary_server.cli.output import err, out, print_json, progress_bar
from quandary_server.cli.session import DataOption, JsonOption, settings_of

app = typer.Typer(
    help="The database of queues, labels, runs and audit (QUANDARY_STORE__URL): its revision.", no_args_is_help=True
)

DIFFERS = 1


@app.command()
def current(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Show the revision that the database has and the one that this program needs."""
    from quandary_server.storage.maintenance import current_revision
    from quandary_server.storage.revisions import REVISIONS

    settings = settings_of(data)
    found, needed = current_revision(settings.store_place, settings.store.options()), REVISIONS[-1]
    if as_json:
        print_json({"revision": found, "needed": needed})
    else:
        out.print(f"revision {found or 'none: the database is empty'}, needed {needed}")


@app.command()
def upgrade(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Upgrade the database to this program's revision, or make its tables. Stop the services and back up before."""
    from quandary_server.storage.maintenance import upgrade_store

    settings = settings_of(data)
    if not settings.store.url.get_secret_value():
        settings.data.mkdir(parents=True, exist_ok=True)
    upgraded = upgrade_store(settings.store_place, settings.store.options())
    if as_json:
        print_json({"before": upgraded.before, "after": upgraded.after})
    elif upgraded.before == upgraded.after:
        out.print(f"revision {upgraded.after}: nothing to do")
    else:
        out.print(f"upgraded from {upgraded.before or 'an empty database'} to revision {upgraded.after}")


@app.command()
def check(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Compare tables, columns and indexes with what this program knows; exits with 1 where they differ."""
    from quandary_server.storage.maintenance import check_store

    settings = settings_of(data)
    found = check_store(settings.store_place, settings.store.options())
    if as_json:
        print_json({"differences": found})
    elif not found:
        out.print("no differences")
    for difference in found if not as_json else ():
        err.print(difference, markup=False)
    if found:
        raise typer.Exit(DIFFERS)


@app.command()
def copy(
    target: Annotated[str, typer.Argument(metavar="URL", help="an empty database: postgresql://USER@HOST/DATABASE or a path")],
    data: DataOption = None,
) -> None:
    """Copy the store into another database, from SQLite to PostgreSQL say. Stop the services before."""
    from quandary_server.storage.copying import copy_store

    settings = settings_of(data)
    with progress_bar("copying", None) as advance:
        copied = copy_store(settings.store_place, target, settings.store.options(), advance)
    out.print(f"{copied} rows copied; set QUANDARY_STORE__URL and start the services")
