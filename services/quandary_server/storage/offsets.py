"""How far each fleet log has been applied."""

from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from quandary.errors import Aborted, InvalidArgument
from quandary_server.storage.schema import offsets

__all__ = ["advance_offset", "read_offset"]


def read_offset(connection: Connection, log: str) -> int:
    """Return the position of the last entry of the log that was applied, 0 before the first."""
    return connection.execute(select(offsets.c.position).where(offsets.c.log == log)).scalar_one_or_none() or 0


def advance_offset(connection: Connection, log: str, after: int, position: int, now: datetime) -> None:
    """Move the log's offset from `after` to `position`, in the caller's transaction.

    Raises InvalidArgument unless 0 <= after < position, Aborted if the offset is not at `after`: another selector was faster.
    """
    if not 0 <= after < position:
        raise InvalidArgument.of("position", position, f"> after ({after}), which is >= 0")
    current = read_offset(connection, log)
    if current != after:
        raise Aborted(f"the offset of log {log} is {current}, not {after}: another selector has applied entries")
    if current:
        connection.execute(update(offsets).where(offsets.c.log == log).values(position=position, time=now))
    else:
        connection.execute(insert(offsets).values(log=log, position=position, time=now))
