"""Column types that mean the same on SQLite and PostgreSQL."""

import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, DateTime, Enum, Integer, String
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from quandary.errors import InvalidArgument

__all__ = ["Notice", "Serial", "Text", "Time", "in_utc", "named", "to_json"]

ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))

Serial = BigInteger().with_variant(Integer, "sqlite")
"""A 64-bit number that the database gives; SQLite numbers only what is called INTEGER, which has 64 bits there."""

Text = String().with_variant(String(collation="C"), "postgresql")
"""Text that sorts by its bytes, as in Python and SQLite, and not as the locale of a server has it, which upgrades change."""


class Notice(TypeDecorator[str]):
    """Text that tells of something that was given to us, quoting it. NUL, which PostgreSQL refuses, is written as \\x00."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return the text without NUL."""
        return None if value is None else value.replace("\0", "\\x00")


class Time(TypeDecorator[datetime]):
    """A time with time zone. SQLite keeps it as UTC text, which people can read and which sorts as time does.

    Raises InvalidArgument for a time without time zone.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the time in UTC."""
        return None if value is None else in_utc(value)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the time in UTC; SQLite has forgotten the zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def in_utc(value: datetime) -> datetime:
    """Return the time in UTC. Raises InvalidArgument for a time without time zone."""
    if value.tzinfo is None:
        raise InvalidArgument.of("time", value, "a time with a time zone")
    return value.astimezone(UTC)


def named(values: type[StrEnum]) -> Enum:
    """Return the column type of an enumeration kept by its values, as text that the database checks."""

    def texts(enumeration: Any) -> list[str]:
        return [member.value for member in enumeration]

    return Enum(values, values_callable=texts, native_enum=False, create_constraint=True, name=values.__name__.lower())


def to_json(value: Any) -> str:
    """Return the JSON text of a JSON column: short, readable, and never with what is no JSON (NaN)."""
    return ENCODER.encode(value)
