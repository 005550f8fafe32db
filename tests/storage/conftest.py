"""A store to work on, in both kinds of database, and entries to fill it with."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from support.postgres import Postgres

from quandary_server.storage import Store
from quandary_server.storage.intake import Applied
from quandary_server.storage.task_values import TaskEntry

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


Places = Callable[[], AbstractContextManager[str]]


@pytest.fixture(scope="session")
def sqlite_places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    """Return an empty store in a file, at each call another."""
    made = tmp_path_factory.mktemp("empty") / "store.db"
    Store.open(made).close()

    @contextmanager
    def place() -> Iterator[str]:
        yield str(shutil.copy(made, tmp_path_factory.mktemp("store")))

    return place


@pytest.fixture(params=["sqlite", "postgresql"])
def places(request: pytest.FixtureRequest) -> Places:
    """Return an empty store, at each call another: its path or URL."""
    if request.param == "sqlite":
        places: Places = request.getfixturevalue("sqlite_places")
        return places
    server: Postgres = request.getfixturevalue("postgres")
    return server.empty_store


@pytest.fixture
def place(places: Places) -> Iterator[str]:
    """The path or URL of an empty store."""
    with places() as made:
        yield made


@pytest.fixture
def store(place: str) -> Iterator[Store]:
    with Store.open(place, max_failed_leases=3) as opened:
        yield opened


@pytest.fixture
def entry() -> Callable[..., TaskEntry]:
    """Make the entry at a position: frame f000 at position 1, scored where a score is given."""

    def make(
        position: int,
        score: float | None = None,
        *,
        frame_id: str = "",
        queue: str = "active",
        drive_id: str = "drive-1",
        generation: str = "g1",
        crops: int = 4,
        shuffle: int = 0,
        record: bytes | None = None,
    ) -> TaskEntry:
        name = frame_id or f"f{position - 1:03d}"
        return TaskEntry(
            position=position,
            queue=queue,
            frame_id=name,
            drive_id=drive_id,
            stamp=NOW - timedelta(hours=1) + timedelta(seconds=position),
            record=record or f"record of {name}".encode(),
            crops=crops,
            shuffle=shuffle,
            score=score,
            generation=generation if score is not None else "",
            frame_score=f"score of {name} by {generation}".encode() if score is not None else None,
            tags={"city": "Karlsruhe"},
        )

    return make


@pytest.fixture
def fill(store: Store, entry: Callable[..., TaskEntry]) -> Callable[..., Applied]:
    """Fill the store with one task per score, f000 first; None: unscored."""

    def apply(*scores: float | None, queue: str = "active") -> Applied:
        after = store.intake.offset("log")
        drive = "drive-1" if queue == "active" else f"drive-of-{queue}"  # a drive is in one queue
        entries = [entry(after + 1 + i, score, queue=queue, drive_id=drive) for i, score in enumerate(scores)]
        return store.intake.apply(entries, log="log", after=after, position=after + len(entries), now=NOW)

    return apply
