"""What drivers raise, as the errors of Quandary. Messages are the driver's, without the statement and its values."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from quandary.errors import CorruptArtefact, InvalidArgument, QuandaryError, Unavailable
from quandary_server.storage.conflicts import WriteConflict

__all__ = ["named_errors"]

SERIALIZATION_FAILURE, DEADLOCK_DETECTED = "40001", "40P01"

KINDS = {
    "OperationalError",
    "InternalError",
    "NotSupportedError",
    "ProgrammingError",
    "DataError",
    "IntegrityError",
    "DatabaseError",
}
"""The errors that every driver has (PEP 249), each with classes of its own."""


@contextmanager
def named_errors(done: str) -> Iterator[None]:
    """Raise what a driver raises as Unavailable, WriteConflict, CorruptArtefact or InvalidArgument; done: "read", "written".

    Whether it comes from the driver itself (`prepared`) or by SQLAlchemy.
    """
    try:
        yield
    except NoConnectionFree as error:
        raise Unavailable(f"the database cannot be {done} now: all connections are in use") from error
    except (StatementError, sqlite3.Error, psycopg.Error) as error:
        orig = error.orig if isinstance(error, StatementError) else error
        if isinstance(orig, QuandaryError):  # of a column type
            raise orig from None
        named = None if isinstance(error, StatementError) and not isinstance(error, DBAPIError) else _named(orig, done)
        if named is None:
            raise
        raise named from error


def _named(orig: BaseException | None, done: str) -> QuandaryError | None:
    kind = next((each.__name__ for each in type(orig).__mro__ if each.__name__ in KINDS), "")
    state = getattr(orig, "sqlstate", None)  # PostgreSQL's; SQLite has none
    said = _said(orig)
    if state in (SERIALIZATION_FAILURE, DEADLOCK_DETECTED):
        return WriteConflict(f"the database cannot be {done} now: {said}")
    if kind == "OperationalError" or (state and kind in ("InternalError", "NotSupportedError", "ProgrammingError")):
        return Unavailable(f"the database cannot be {done} now: {said}")
    if kind == "DataError":
        return InvalidArgument(f"the database has no room for a value: {said}")
    if kind == "DatabaseError":
        return CorruptArtefact(f"the database cannot be {done}: {said}")
    return None


def _said(orig: BaseException | None) -> str:
    # PostgreSQL's first line; those behind it quote statement and values
    primary: str | None = getattr(getattr(orig, "diag", None), "message_primary", None)
    return primary or " ".join(str(orig).split())
