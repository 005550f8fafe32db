"""Empty stores to measure: in a SQLite file, and on PostgreSQL where it is there."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from quandary.errors import NotFound, Unavailable
from quandary_server.bench.progress import LeftOut
from quandary_server.bench.queue.postgres import postgres_server
from quandary_server.storage.options import StoreOptions
from quandary_server.storage.store import Store


@dataclass(frozen=True)
class Kind:
    """A kind of database; empty: returns the path or URL of an empty store for the body of a `with`."""

    name: str
    empty: Callable[[], AbstractContextManager[str]]


@contextmanager
def sqlite_place() -> Iterator[str]:
    """Return the path of an empty store."""
    with tempfile.TemporaryDirectory(prefix="quandary-bench-") as folder:
        place = str(Path(folder, "store.db"))
        Store.open(place).close()
        yield place


@contextmanager
def postgres_place() -> Iterator[str]:
    """Return the URL of an empty store on a server of its own; raises as `postgres_server` does."""
    with postgres_server() as server:
        Store.open(server.url(), options=StoreOptions(upgrade=True)).close()
        yield server.url()


SQLITE, POSTGRES = Kind("sqlite", sqlite_place), Kind("postgres", postgres_place)


def kinds(part: str, left_out: LeftOut) -> Iterator[tuple[Kind, str]]:
    """Yield each kind that there is, with an empty store; `left_out` is told of one that there is not."""
    for kind in (SQLITE, POSTGRES):
        with ExitStack() as stack:
            try:
                place = stack.enter_context(kind.empty())
            except (NotFound, Unavailable) as error:
                left_out(f"{part}_{kind.name}", error)
                continue
            yield kind, place
