"""The revision of a store's schema: which it has, which this program knows, and the way from one to the other."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, MetaData, Table, inspect, select

from quandary.errors import WrongState
from quandary_server.storage.columns import Text
from quandary_server.storage.schema import marker, metadata

__all__ = ["NEWEST", "REVISIONS", "StoreSchema", "differences", "revision_of", "upgrade"]

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0008", "0009")
"""All there are, as in `migrations`, the newest last: to open a store that is up to date takes no alembic."""

NEWEST = REVISIONS[-1]
KIND = "Quandary store"
BEFORE_ALEMBIC = 1
MIGRATIONS = Path(__file__).with_name("migrations")

applied = Table("alembic_version", MetaData(), Column("version_num", Text))


@dataclass(frozen=True, slots=True)
class StoreSchema:
    """The schema of a store; may_upgrade: make it in an empty database, and bring an older one up to date."""

    may_upgrade: bool

    def up_to_date(self, connection: Connection) -> bool:
        """Return whether the store has the newest revision.

        Raises WrongState for a database of something else, for one that is newer, and for an older or empty one that
        may not be upgraded here; both revisions are named.
        """
        found = revision_of(connection)
        if found == NEWEST:
            return True
        if found and found not in REVISIONS:
            raise WrongState(f"the {KIND} has revision {found}, this program knows none after {NEWEST}: upgrade Quandary")
        if not self.may_upgrade:
            state = f"the {KIND} has revision {found}" if found else "the database is empty"
            raise WrongState(f"{state}, this program needs {NEWEST}: `quandary db upgrade`")
        return False

    def make(self, connection: Connection) -> None:
        """Upgrade to the newest revision."""
        upgrade(connection)


def revision_of(connection: Connection) -> str:
    """Return the revision of a store, empty for an empty database. Raises WrongState for a database of something else."""
    tables = inspect(connection).get_table_names()
    if not tables:
        return ""
    made = connection.execute(select(marker)).one_or_none() if marker.name in tables else None
    if made is None or made.kind != KIND:
        raise WrongState(f"the database is no {KIND} but {'another database' if made is None else f'a {made.kind}'}")
    if applied.name not in tables:
        if made.version != BEFORE_ALEMBIC:
            raise WrongState(f"the {KIND} has schema version {made.version}, which no program has made")
        return REVISIONS[0]
    return str(connection.execute(select(applied.c.version_num)).scalar_one())


def upgrade(connection: Connection, revision: str = NEWEST) -> None:
    """Bring an empty or older store to a revision, in the caller's transaction; its rows are kept."""
    from alembic import command  # here: it takes longer to load than a store to open
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    if revision_of(connection) and applied.name not in inspect(connection).get_table_names():
        command.stamp(config, REVISIONS[0])
    command.upgrade(config, revision)


def differences(connection: Connection) -> list[Any]:
    """Return what would have to change for the database to be as `schema` says, empty where it is."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    return list(compare_metadata(MigrationContext.configure(connection), metadata))
