"""What a store asks of its database, whichever it is."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from sqlalchemy import Connection

__all__ = ["Database", "Schema", "bring_up_to_date"]


class Database(Protocol):
    """A database that several threads and processes read and write at once.

    Reading never waits for writing. Every method raises Unavailable where the database cannot be reached, another writer
    takes too long or there is no room, and CorruptArtefact where the database is damaged.
    """

    def read(self, *, between_writes: bool = False) -> AbstractContextManager[Connection]:
        """Return a connection that sees one state of the database throughout.

        between_writes: a state in which nobody was writing, so that no number drawn before it turns up after it.
        """

    def write(self) -> AbstractContextManager[Connection]:
        """Return a connection in a transaction that no other writer runs beside: what it has read stays true.

        It is committed at the end, or undone if the body raises.
        """

    def write_beside(self) -> AbstractContextManager[Connection]:
        """Return a connection in a transaction that others of this kind may run beside, but none of `write`.

        So it locks the rows that it reads in order to write them. Raises WriteConflict: see `conflicts`.
        """

    def alter(self) -> AbstractContextManager[Connection]:
        """Return what `write` does, without a limit on how long a statement may take."""

    def writing_much(self) -> AbstractContextManager[Callable[[int], None]]:
        """Return what is told after each of many writes, in no transaction, how many rows it wrote.

        So what a database has to do now and then for them is done while others write.
        """

    def probe(self) -> None:
        """Find out whether the database can be read and written now, waiting some seconds at most."""

    def close(self) -> None:
        """Close all connections."""


class Schema(Protocol):
    """The tables that a database is to have."""

    def up_to_date(self, connection: Connection) -> bool:
        """Return whether they are there as this program knows them; False: `make` is called for.

        Raises WrongState for a database of something else, and for one that may not be brought up to date here.
        """

    def make(self, connection: Connection) -> None:
        """Make what is missing, in the caller's transaction."""


def bring_up_to_date(database: Database, schema: Schema, *, before: Callable[[], None] = lambda: None) -> None:
    """Make the schema unless it is there; before: called once the database is known to be ours. Raises WrongState."""
    with database.read() as connection:
        done = schema.up_to_date(connection)  # before anything of a foreign database is changed
    before()
    if not done:
        with database.alter() as connection:
            if not schema.up_to_date(connection):  # another process may have been faster
                schema.make(connection)
