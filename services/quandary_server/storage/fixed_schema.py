"""The schema of a database that has no revisions: it is made once."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, insert, inspect, select

from quandary.errors import WrongState

__all__ = ["FixedSchema"]


@dataclass(frozen=True, slots=True)
class FixedSchema:
    """The tables of `metadata`, with what `seed` puts in; kind, version: marked in the database, to be told from others."""

    metadata: MetaData
    kind: str
    version: int
    seed: Callable[[Connection], None]

    def up_to_date(self, connection: Connection) -> bool:
        """Return whether the database was made; raises WrongState if it is of another kind or version."""
        tables = inspect(connection).get_table_names()
        if not tables:
            return False
        made = _versions()
        found = connection.execute(select(made.c.kind, made.c.version)).one_or_none() if made.name in tables else None
        if found is None or found.kind != self.kind:
            raise WrongState(f"the database is no {self.kind} but {'another database' if found is None else f'a {found.kind}'}")
        if found.version != self.version:
            remedy = "upgrade Quandary" if found.version > self.version else "migrate it"
            raise WrongState(f"the {self.kind} has schema version {found.version}, this program knows {self.version}: {remedy}")
        return True

    def make(self, connection: Connection) -> None:
        """Make it, in the caller's transaction."""
        self.metadata.create_all(connection)
        made = _versions()
        made.create(connection)
        connection.execute(insert(made).values(kind=self.kind, version=self.version))
        self.seed(connection)


def _versions() -> Table:
    return Table("schema_version", MetaData(), Column("kind", String), Column("version", Integer))
