"""Inserting rows that may be there already."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

__all__ = ["insert_missing"]


def insert_missing(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert the rows whose key is not there, in the caller's transaction; another may insert the same in this very moment."""
    postgres = connection.dialect.name == "postgresql"
    insert = postgresql.insert(table).on_conflict_do_nothing() if postgres else sqlite.insert(table).on_conflict_do_nothing()
    connection.execute(insert, list(rows))
