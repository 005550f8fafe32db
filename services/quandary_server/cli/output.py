"""What the commands print: tables for people, JSON for programs, errors on stderr."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TextIO

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from quandary.errors import QuandaryError

WIDE_INTEGERS = (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64)

NUMBER, SENTENCE, LESSER = "#", "~", "?"
GAP = 2
MIN_SENTENCE = 24
PIPED_WIDTH = 10_000


def _width(stream: TextIO) -> int | None:
    """The terminal's own, or COLUMNS; a pipe has none, so nothing is folded there."""
    return None if stream.isatty() or "COLUMNS" in os.environ else PIPED_WIDTH


# sentences are for the terminal to fold: a path cut in two cannot be copied
out = Console(highlight=False, soft_wrap=True, width=_width(sys.stdout))
err = Console(stderr=True, highlight=False, width=_width(sys.stderr))


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
    """Print a table, or `empty` where there are no rows.

    A column that begins with `#` holds numbers, with `~` sentences, which are folded; with `?` (before those) it is dropped
    where the console is narrow. Nothing else is ever folded or cut: where that does not fit, each row becomes a block.
    """
    cells = [[str(cell) for cell in row] for row in rows]
    if not cells:
        out.print(empty)
        return
    shown = _fitting(columns, cells)
    if title:
        out.print(title)
    if shown is None:
        _print_blocks([column.lstrip(LESSER) for column in columns], cells)
    else:
        out.print(_table(columns, cells, shown), soft_wrap=False)


def table_of(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> Table | Text:
    """Return what `print_table` prints, for a display of several; where the console is too narrow names are folded."""
    cells = [[str(cell) for cell in row] for row in rows]
    if not cells:
        return Text(empty)
    needed = [i for i, column in enumerate(columns) if not column.startswith(LESSER)]
    return _table(columns, cells, _fitting(columns, cells) or needed)


def _table(columns: Sequence[str], cells: Sequence[Sequence[str]], shown: Sequence[int]) -> Table:
    names = [columns[i].lstrip(LESSER) for i in shown]
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0), header_style="bold")
    for name in names:
        right = name.startswith(NUMBER)
        table.add_column(
            _bare(name), justify="right" if right else "left", no_wrap=not name.startswith(SENTENCE), overflow="fold"
        )
    for row in cells:
        table.add_row(*(escape(row[i]) for i in shown))
    return table


def _fitting(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> list[int] | None:
    """Return the columns to show, all or without lesser ones (the last go first); None where even that is too wide."""
    shown = list(range(len(columns)))
    widths = [
        max(cell_len(line) for text in (_bare(column), *(row[i] for row in cells)) for line in (text.splitlines() or [""]))
        for i, column in enumerate(columns)
    ]
    least = [min(w, MIN_SENTENCE) if SENTENCE in c[:2] else w for c, w in zip(columns, widths, strict=True)]
    lesser = [i for i in shown if columns[i].startswith(LESSER)]
    while sum(least[i] for i in shown) + GAP * (len(shown) - 1) > out.width:
        if not lesser:
            return None
        shown.remove(lesser.pop())
    return shown


def _print_blocks(names: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    heads = [" ".join(_bare(name).split()) for name in names]
    width = max(map(cell_len, heads))
    for row in cells:
        for head, cell in zip(heads, row, strict=True):
            out.print(f"[bold]{head:<{width}}[/bold]  {escape(cell)}")
        out.print()


def _bare(column: str) -> str:
    return column.lstrip(LESSER + SENTENCE + NUMBER)


@contextmanager
def progress_bar(description: str, total: int | None) -> Iterator[Any]:
    """Show a bar on stderr, if that is a terminal, while the body runs; yields `advance`, told what is done in all."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal) as progress:
        task = progress.add_task(description, total=total)

        def advance(done: float, description: str | None = None, total: float | None = None) -> None:
            progress.update(task, completed=done, description=description, total=total)

        yield advance


def print_error(error: QuandaryError) -> None:
    """Print an error on stderr: what happened, then each wrong field on a line of its own."""
    kind = type(error).__name__
    if len(error.violations) > 1:
        # of a server's, how many are wrong where not all are told
        head = error.message.partition(error.violations[0].field)[0].strip(" :")
        err.print(f"[red]{kind}[/red]" + (f": {escape(head)}" if head else ""))
        for violation in error.violations:
            err.print(f"  {escape(str(violation))}")
    else:
        err.print(f"[red]{kind}[/red]: {escape(error.message)}")
