"""Which database a path or URL means."""

from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from quandary.errors import InvalidArgument, NotFound
from quandary_server.storage.database import Database, Schema
from quandary_server.storage.options import StoreOptions
from quandary_server.storage.postgresql import PostgresDatabase
from quandary_server.storage.sqlite import SqliteDatabase

__all__ = ["check_there", "open_database", "sqlite_url", "url_of"]

KINDS = "a path, sqlite:///PATH or postgresql://USER@HOST/DATABASE"
POSTGRESQL = ("postgresql", "postgres", "postgresql+psycopg")


def url_of(place: str | Path) -> URL:
    """Return the URL of a place, with the driver that we use. Raises InvalidArgument for another kind of database."""
    if place == "":
        raise InvalidArgument.of("url", "empty", KINDS)
    if isinstance(place, Path) or "://" not in place:
        return URL.create("sqlite", database=str(place))
    try:
        url = make_url(place)
    except (ArgumentError, ValueError):
        raise InvalidArgument.of("url", "not a URL", KINDS) from None
    if url.drivername in POSTGRESQL and url.database:
        return url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:":
        return url
    # The rest of the URL may hold a password.
    raise InvalidArgument.of("url", f"{url.drivername}://...", KINDS)


def sqlite_url(place: str | Path) -> URL:
    """Return the URL of a SQLite file. Raises InvalidArgument for any other database."""
    url = url_of(place)
    if url.get_backend_name() != "sqlite":
        raise InvalidArgument.of("url", f"{url.drivername}://...", "a path or sqlite:///PATH")
    return url


def check_there(url: URL) -> None:
    """Raise NotFound for a SQLite file that is not there: to open it would make it."""
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        raise NotFound(f"there is no database {url.database}")


def open_database(url: URL, schema: Schema, options: StoreOptions) -> Database:
    """Open the database of a URL. Raises as `SqliteDatabase.open` and `PostgresDatabase.open` do."""
    if url.get_backend_name() == "sqlite":
        return SqliteDatabase.open(url, schema, options)
    return PostgresDatabase.open(url, schema, options)
