"""What the commands print: tables for people, JSON for programs, errors on stderr."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from quandary.errors import QuandaryError

WIDE_INTEGERS = (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64)

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def print_json(value: object) -> None:
    """Print a value, or messages, as JSON."""
    print(json.dumps(plain(value), indent=1))


def plain(value: Any) -> Any:
    """Return messages as dictionaries with the field names of the contract, however nested; 64-bit integers as numbers."""
    if isinstance(value, Message):
        found = MessageToDict(value, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        return _numbered(found, value.DESCRIPTOR)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [plain(item) for item in value]
    return value


def _numbered(found: dict[str, Any], descriptor: Any) -> dict[str, Any]:
    """Protobuf's JSON writes 64-bit integers as strings, which no table of figures wants."""
    for field in descriptor.fields:
        if field.name not in found or (field.message_type and field.message_type.GetOptions().map_entry):
            continue
        of: Callable[[Any], Any]
        if field.cpp_type in WIDE_INTEGERS:
            of = int
        elif field.message_type and field.message_type.file.package == descriptor.file.package:
            of = partial(_numbered, descriptor=field.message_type)
        else:
            continue
        value = found[field.name]
        found[field.name] = [of(item) for item in value] if isinstance(value, list) else of(value)
    return found


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str, title: str = "") -> None:
    """Print a table, or `empty` where there are no rows; columns that begin with `#` are numbers."""
    table = Table(title=title or None, title_justify="left", header_style="bold")
    for column in columns:
        number = column.startswith("#")
        table.add_column(column.removeprefix("#"), justify="right" if number else "left", no_wrap=number)
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    if table.row_count:
        out.print(table)
    else:
        out.print(empty)


@contextmanager
def progress_bar(description: str, total: int | None) -> Iterator[Any]:
    """Show a bar on stderr, if that is a terminal, while the body runs; yields `advance(done)`, told what is done in all."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal) as progress:
        task = progress.add_task(description, total=total)

        def advance(done: float, description: str | None = None) -> None:
            progress.update(task, completed=done, description=description)

        yield advance


def print_error(error: QuandaryError) -> None:
    """Print an error on stderr: what happened, then each wrong field on a line of its own."""
    kind = type(error).__name__
    if len(error.violations) > 1:
        err.print(f"[red]{kind}[/red]")
        for violation in error.violations:
            err.print(f"  {escape(str(violation))}")
    else:
        err.print(f"[red]{kind}[/red]: {escape(error.message)}")
