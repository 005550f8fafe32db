"""What operators do to the database of a store: look at its revision, upgrade it, compare it with the model."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from quandary.errors import NotFound
from quandary_server.storage.database import Database
from quandary_server.storage.opening import check_there, open_database, url_of
from quandary_server.storage.options import DEFAULTS, StoreOptions
from quandary_server.storage.revisions import REVISIONS, StoreSchema, differences, revision_of

__all__ = ["Upgraded", "check_store", "current_revision", "upgrade_store"]


@dataclass(frozen=True, slots=True)
class Upgraded:
    """The revisions before and after; before: empty where the database was."""

    before: str
    after: str


class AsFound:
    """The schema that a store has, whatever its revision."""

    def up_to_date(self, connection: Connection) -> bool:
        """Return True; raises WrongState for a database of something else."""
        revision_of(connection)
        return True

    def make(self, connection: Connection) -> None:
        """Nothing is made."""


def current_revision(place: str | Path, options: StoreOptions = DEFAULTS) -> str:
    """Return the revision of a store, empty for an empty database. Raises NotFound without one, and as `Store.open` does."""
    with _as_found(place, options) as database, database.read() as connection:
        return revision_of(connection)


def upgrade_store(place: str | Path, options: StoreOptions = DEFAULTS) -> Upgraded:
    """Bring a store to the newest revision, or make one in an empty database. Raises as `Store.open` does."""
    url = url_of(place)
    try:
        before = current_revision(place, options)
    except NotFound:
        before = ""
    open_database(url, StoreSchema(may_upgrade=True), replace(options, upgrade=True)).close()
    return Upgraded(before, REVISIONS[-1])


def check_store(place: str | Path, options: StoreOptions = DEFAULTS) -> list[str]:
    """Return what of the database differs from what this program knows, empty where nothing does. Raises as above."""
    with _as_found(place, options) as database, database.read() as connection:
        found = revision_of(connection)
        if found != REVISIONS[-1]:
            return [f"revision {found or 'none'}, this program knows {REVISIONS[-1]}"]
        return [_in_words(difference) for difference in differences(connection)]


@contextmanager
def _as_found(place: str | Path, options: StoreOptions) -> Iterator[Database]:
    url = url_of(place)
    check_there(url)
    database = open_database(url, AsFound(), options)
    try:
        yield database
    finally:
        database.close()


def _in_words(difference: Any) -> str:
    """Return alembic's instruction for one difference: ("add_index", Index(...)) or [("modify_type", schema, table, ...)]."""
    if isinstance(difference, list):
        return "; ".join(map(_in_words, difference))
    change, *of = difference
    return " ".join([change, *(str(getattr(part, "name", part)) for part in of if part is not None)])
