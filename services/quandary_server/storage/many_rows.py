"""Many rows read or written at once.

They are written one by one into a file, and in one statement to a server, which costs a fifth of so many statements.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    Enum,
    Select,
    Table,
    and_,
    bindparam,
    cast,
    column,
    func,
    insert,
    select,
    update,
)

from quandary_server.storage.columns import Text, in_utc
from quandary_server.storage.prepared import Answer, Prepared

__all__ = ["RowInsert", "RowUpdate", "RowsOf"]

Rows = Sequence[Mapping[str, Any]]

DOCUMENT = "document"


class RowsOf:
    """Reads those rows of a query whose column has one of many values: the query's text is the same however many."""

    def __init__(self, query: Select[Any], column: Column[Any]) -> None:
        document = bindparam(DOCUMENT, type_=Text)
        in_file = select(func.json_each(document).table_valued("value").c.value)
        on_server = select(func.json_array_elements_text(cast(document, JSON)).column_valued("value"))
        self._texts = {
            "sqlite": Prepared(query.where(column.in_(in_file))),
            "postgresql": Prepared(query.where(column.in_(on_server))),
        }

    def rows(self, connection: Connection, values: Mapping[str, Any], listed: Sequence[str]) -> list[Any]:
        """Return the rows, in no order; values: those of the query's other parameters."""
        if not listed:
            return []
        return self._texts[connection.dialect.name].rows(connection, {**values, DOCUMENT: DOCUMENTS.encode(listed)})


class RowInsert:
    """Inserts rows of a table, each given by its values of these columns."""

    def __init__(self, table: Table, columns: Sequence[Column[Any]]) -> None:
        given = _given({each.name: each for each in columns})
        self._one = Prepared(insert(table).inline(), columns=[each.name for each in columns])
        self._many = Prepared(insert(table).inline().from_select(columns, select(*given.values())))

    def send(self, connection: Connection, rows: Rows) -> None:
        """Insert them, in the connection's transaction."""
        _answer(connection, self._one, self._many, rows)


class RowUpdate:
    """Updates rows of a table, each given by its keys, under the names that they have here, and its values of these columns.

    provided: a condition that a row is passed over without.
    """

    def __init__(
        self,
        table: Table,
        keys: Mapping[str, Column[Any]],
        columns: Sequence[Column[Any]],
        provided: ColumnElement[bool] | None = None,
    ) -> None:
        given = _given({**keys, **{each.name: each for each in columns}})
        also = () if provided is None else (provided,)
        one = and_(*(each == bindparam(name) for name, each in keys.items()), *also)
        many = and_(*(each == given[name] for name, each in keys.items()), *also)
        self._one = Prepared(update(table).where(one).values({each: bindparam(each.name) for each in columns}))
        self._many = Prepared(update(table).where(many).values({each: given[each.name] for each in columns}))

    def send(self, connection: Connection, rows: Rows) -> None:
        """Update them, in the connection's transaction; a row that is not there is passed over."""
        _answer(connection, self._one, self._many, rows)

    def count(self, connection: Connection, rows: Rows) -> int:
        """Update them as `send` does, and return how many were there."""
        answer = _answer(connection, self._one, self._many, rows)
        return 0 if answer is None else answer.count()


def _given(columns: Mapping[str, Column[Any]]) -> dict[str, Any]:
    """Return the columns of rows that a server is sent as one JSON document: psycopg quotes arrays value by value in Python."""
    kinds = {name: Text if isinstance(each.type, Enum) else each.type for name, each in columns.items()}
    document = func.json_to_recordset(cast(bindparam(DOCUMENT, type_=Text), JSON))
    found = document.table_valued(*(column(name, kind) for name, kind in kinds.items()), name="given")
    return dict(found.render_derived(name="given", with_types=True).c)


def _answer(connection: Connection, one: Prepared, many: Prepared, rows: Rows) -> Answer | None:
    if not rows:
        return None
    if connection.dialect.name == "postgresql":
        return many.send(connection, {DOCUMENT: DOCUMENTS.encode(rows)})
    return one.send_many(connection, rows)


def _as_text(value: Any) -> str:
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    if isinstance(value, datetime):
        return in_utc(value).isoformat()
    raise TypeError(f"no value of a column: {type(value).__name__}")


DOCUMENTS = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_as_text)
