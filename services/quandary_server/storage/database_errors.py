"""What drivers raise, as the errors of Quandary. Messages are the driver's, without the statement and its values."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import (
    DatabaseError,
    DataError,
    InternalError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    StatementError,
)
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from quandary.errors import CorruptArtefact, InvalidArgument, QuandaryError, Unavailable
from quandary_server.storage.conflicts import WriteConflict

__all__ = ["named_errors"]

SERIALIZATION_FAILURE, DEADLOCK_DETECTED = "40001", "40P01"


@contextmanager
def named_errors(done: str) -> Iterator[None]:
    """Raise what a driver raises as Unavailable, WriteConflict, CorruptArtefact or InvalidArgument; done: "read", "written"."""
    try:
        yield
    except NoConnectionFree as error:
        raise Unavailable(f"the database cannot be {done} now: all connections are in use") from error
    except StatementError as error:
        if isinstance(error.orig, QuandaryError):  # of a column type
            raise error.orig from None
        named = _named(error, done)
        if named is None:
            raise
        raise named from error


def _named(error: StatementError, done: str) -> QuandaryError | None:
    state = getattr(error.orig, "sqlstate", None)  # PostgreSQL's; SQLite has none
    said = _said(error.orig)
    if state in (SERIALIZATION_FAILURE, DEADLOCK_DETECTED):
        return WriteConflict(f"the database cannot be {done} now: {said}")
    if isinstance(error, OperationalError) or (
        state and isinstance(error, InternalError | NotSupportedError | ProgrammingError)
    ):
        return Unavailable(f"the database cannot be {done} now: {said}")
    if isinstance(error, DataError):
        return InvalidArgument(f"the database has no room for a value: {said}")
    if type(error) is DatabaseError:
        return CorruptArtefact(f"the database cannot be {done}: {said}")
    return None


def _said(orig: BaseException | None) -> str:
    # PostgreSQL's first line; those behind it quote statement and values
    primary: str | None = getattr(getattr(orig, "diag", None), "message_primary", None)
    return primary or " ".join(str(orig).split())
