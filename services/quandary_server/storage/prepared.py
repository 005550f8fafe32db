"""Statements that are sent often: built by SQLAlchemy once, and sent through the driver's own cursor from then on.

A lease is five statements of a few dozen microseconds each; SQLAlchemy adds as much to every one of them, and to every row.
Their text, their values and what comes back are still what SQLAlchemy makes of the tables' columns, on either database.
"""

from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Dialect, Enum, Executable
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

from quandary_server.storage.columns import Time

__all__ = ["Answer", "Prepared", "together"]

VALUES_KEPT = 256
"""Times and states that are remembered as they were converted, for each parameter and column."""

Convert = Callable[[Any], Any]


class Prepared:
    """A statement with named parameters.

    columns: those that an INSERT is given by name. lists: parameters of an `IN`; the statement's text is kept for each length.
    """

    def __init__(self, statement: Executable, *, columns: Sequence[str] | None = None, lists: Sequence[str] = ()) -> None:
        self._statement, self._columns, self._lists = statement, columns, lists
        self._texts: dict[tuple[str, tuple[int, ...]], _Text] = {}

    def send(self, connection: Connection, values: Mapping[str, Any]) -> "Answer":
        """Send it with its values, in the connection's transaction, and return its answer."""
        text = self._text(connection.dialect, values)
        bound = text.bound(values)
        cursor = _cursor(connection, text.statement, bound)
        cursor.execute(text.statement, bound)
        return Answer(cursor, text)

    def rows(self, connection: Connection, values: Mapping[str, Any]) -> list[Any]:
        """Return the rows of the answer."""
        return self.send(connection, values).rows()

    def send_many(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> "Answer":
        """Send it with each of the rows' values, at least one; return the answer of all together."""
        text = self._text(connection.dialect, rows[0])
        bound = [text.bound(row) for row in rows]
        cursor = _cursor(connection, text.statement, bound)
        cursor.executemany(text.statement, bound)
        return Answer(cursor, text)

    def _text(self, dialect: Dialect, values: Mapping[str, Any]) -> "_Text":
        key = (dialect.name, tuple([len(values[name]) for name in self._lists]))
        if (found := self._texts.get(key)) is None:
            found = self._texts[key] = _Text(self._statement, self._columns, dialect, values)
        return found


class Answer:
    """What came of a statement. Within `together` it is there once it is asked for."""

    def __init__(self, cursor: Any, text: "_Text") -> None:
        self._cursor, self._text = cursor, text

    def rows(self) -> list[Any]:
        """Return its rows, as named tuples of the statement's columns."""
        return self._text.read(self._cursor)

    def count(self) -> int:
        """Return how many rows were written."""
        count: int = self._cursor.rowcount
        return count


@contextmanager
def together(connection: Connection) -> Iterator[None]:
    """Let the statements sent in the body go to a server without waiting for each other's answers; to a file one by one."""
    if connection.dialect.name == "postgresql":
        with _driver(connection).pipeline():
            yield
    else:
        yield


class _Text:
    """The text of a statement for one kind of database, with what converts values on their ways in and out."""

    def __init__(self, statement: Executable, names: Sequence[str] | None, dialect: Dialect, values: Mapping[str, Any]) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=names)  # type: ignore[attr-defined]
        assert isinstance(compiled, SQLCompiler)
        expanded = compiled.construct_expanded_state(dict(values))
        given = {name: value for name, value in compiled.construct_params(values).items() if name not in values}
        self.statement = expanded.statement
        self._order = expanded.positiontup
        self._lists = {name: expanded.parameter_expansion[name] for name in values if name in expanded.parameter_expansion}
        binders: Mapping[str, Convert] = compiled._bind_processors  # type: ignore[assignment]
        self._binders = [
            (name, _remembering(compiled.binds[name].type, binders[name]))
            for name in values
            if name in binders and name not in self._lists
        ]
        self._given = {name: binders[name](value) if name in binders else value for name, value in given.items()}
        self._dialect, self._columns = dialect, compiled._result_columns or []
        self._make = _maker([column.keyname for column in self._columns])
        self._readers: list[tuple[int, Convert]] | None = None
        self._picked = itemgetter(*self._order) if self._order and len(self._order) > 1 else None

    def bound(self, values: Mapping[str, Any]) -> Any:
        """Return the values as the driver takes them."""
        found = {**self._given, **values}
        for name, bind in self._binders:
            found[name] = bind(found[name])
        for name, names in self._lists.items():
            found.update(zip(names, found.pop(name), strict=True))
        if self._order is None:
            return found
        return self._picked(found) if self._picked else tuple(found[name] for name in self._order)

    def read(self, cursor: Any) -> list[Any]:
        """Return the rows of a driver's cursor as named tuples of Python's values."""
        found: list[Any] = []
        rows = cursor.fetchall()
        if not rows:
            return found
        if self._readers is None:
            self._readers = list(self._readers_of(cursor))
        readers, make = self._readers, self._make
        for row in rows:
            values = list(row)
            for index, read in readers:
                values[index] = read(values[index])
            found.append(make(values))
        return found

    def _readers_of(self, cursor: Any) -> Iterator[tuple[int, Convert]]:
        for index, (column, described) in enumerate(zip(self._columns, cursor.description, strict=True)):
            read = column.type._cached_result_processor(self._dialect, described[1])
            if read is not None:
                yield index, _remembering(column.type, read)


def _maker(names: Sequence[str]) -> Callable[[Sequence[Any]], Any]:
    make: Callable[[Sequence[Any]], Any] = namedtuple("Row", names, rename=True)._make  # type: ignore[attr-defined]
    return make


def _remembering(kind: TypeEngine[Any], convert: Convert) -> Convert:
    """Return what converts a column's values, and knows those that it converted last where they repeat within a call."""
    return lru_cache(VALUES_KEPT)(convert) if isinstance(kind, Enum | Time) else convert


def _cursor(connection: Connection, statement: str, bound: Any) -> Any:
    cursor = _driver(connection).cursor()
    for heard in connection.dispatch.before_cursor_execute:  # by whoever listens to SQLAlchemy's statements
        heard(connection, cursor, statement, bound, None, isinstance(bound, list))
    return cursor


def _driver(connection: Connection) -> Any:
    return connection.connection.dbapi_connection
