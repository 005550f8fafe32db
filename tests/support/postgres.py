"""A real PostgreSQL server for tests, with an empty store as often as it is asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from psycopg import sql

from quandary_server.bench.queue.postgres import PostgresServer, postgres_server
from quandary_server.storage import Store
from quandary_server.storage.options import StoreOptions

SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",  # a test's rows need not outlive the machine
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "autovacuum": "off",
}
STORE = "store"
CLEAR = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid();
DELETE FROM exclusions; DELETE FROM frame_scores; DELETE FROM labels; DELETE FROM embeddings; DELETE FROM tasks;
DELETE FROM frames; DELETE FROM offsets; DELETE FROM rejected; DELETE FROM selectors; DELETE FROM elections;
DELETE FROM run_log; DELETE FROM runs; DELETE FROM audit;
DELETE FROM queues WHERE name NOT IN ('active', 'control');
DELETE FROM counters WHERE name LIKE 'passed_over/%'; UPDATE counters SET value = 0;
UPDATE queues SET ranked_generation = NULL;
"""


class Postgres:
    """A server that runs, with databases for tests."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self._numbers = count()
        self.administer(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(STORE)))
        Store.open(server.url(STORE), options=StoreOptions(upgrade=True)).close()

    def administer(self, statement: sql.Composed) -> None:
        """Execute a statement about databases."""
        with self.server.connect() as connection:
            connection.execute(statement)

    @contextmanager
    def empty_store(self) -> Iterator[str]:
        """Return the URL of an empty store, the same at every call: whoever is still connected is thrown out."""
        with self.server.connect(STORE) as connection:
            connection.execute(CLEAR)
        yield self.server.url(STORE)

    @contextmanager
    def database(self) -> Iterator[str]:
        """Return the URL of an empty database of one's own: a hundred times as slow."""
        name = sql.Identifier(f"database_{next(self._numbers)}")
        self.administer(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(name))
        try:
            yield self.server.url(name.as_string().strip('"'))
        finally:
            self.administer(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@contextmanager
def postgres_for_tests() -> Iterator[Postgres]:
    """Run a server. Raises as `postgres_server` does."""
    with postgres_server(SETTINGS) as server:
        yield Postgres(server)
