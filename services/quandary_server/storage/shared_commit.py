"""Transactions of one process that are committed together, since a commit waits for the disk and what leases does not.

Whoever finds others waiting behind it leaves its transaction open for the next one, and returns once the last of them has
committed for all. So each still returns only when what it did is on the disk, and what one raises undoes its own part alone
(a savepoint). A commit that fails, or a database that undoes all by itself, undoes all of them, and each does its part again.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from sqlalchemy import Connection

from quandary_server.storage.conflicts import WriteConflict
from quandary_server.storage.turns import Turns

__all__ = ["SharedCommit"]

TOGETHER_AT_MOST = 16
STRANDED_S = 1.0

Begin = Callable[[], AbstractContextManager[Connection]]
"""Begins a transaction, which is committed at the end of a `with`, or undone if its body raises."""


class SharedCommit:
    """The transactions of one process on a database that has one writer at a time."""

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self._turns = Turns()
        self._open: _Transaction | None = None

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return self._turns.waiting

    @contextmanager
    def alone(self) -> Iterator[Connection]:
        """Return a connection in a transaction of its own."""
        with self._turns:
            self._commit_open()
            with self._begin() as connection:
                yield connection

    @contextmanager
    def between(self) -> Iterator[None]:
        """Let nothing be written, nor a transaction be open, while the body runs."""
        with self._turns:
            self._commit_open()
            yield

    @contextmanager
    def beside(self) -> Iterator[Connection]:
        """Return a connection in a transaction that others may go on with once the body is done. Raises WriteConflict."""
        with self._turns:
            transaction = self._open or _Transaction(self._begin)
            self._open = transaction
            try:
                with transaction.part() as connection:
                    yield connection
            finally:
                if not transaction.may_go_on or not self._turns.waiting:
                    self._commit_open()
        while not transaction.ended.wait(STRANDED_S):  # who was to go on with it was interrupted while it waited
            with self._turns:
                if self._open is transaction:
                    self._commit_open()
        if transaction.undone is not None:
            raise WriteConflict("the database cannot be written now: a transaction beside failed") from transaction.undone

    def _commit_open(self) -> None:
        if (transaction := self._open) is not None:
            self._open = None
            transaction.commit()


class _Transaction:
    """A transaction of several parts; ended: it is over; undone: why nothing of it was kept, if so."""

    def __init__(self, begin: Begin) -> None:
        self._stack = ExitStack()
        self._connection = self._stack.enter_context(begin())
        self._driver: Any = self._connection.connection.dbapi_connection
        self._parts = 0
        self.ended = threading.Event()
        self.undone: BaseException | None = None

    @property
    def may_go_on(self) -> bool:
        """Return whether another may add its part."""
        return 0 < self._parts < TOGETHER_AT_MOST and self.undone is None

    @contextmanager
    def part(self) -> Iterator[Connection]:
        """Return the connection for one part, which is undone alone if the body raises."""
        self._driver.execute("SAVEPOINT part")
        try:
            yield self._connection
            self._driver.execute("RELEASE part")
        except BaseException as error:
            if self._driver.in_transaction:
                self._driver.execute("ROLLBACK TO part")
                self._driver.execute("RELEASE part")
            else:  # some errors, of a full disk for one, end all of it
                self.undone = error
            raise
        self._parts += 1

    def commit(self) -> None:
        """End it: what its parts did is kept, or nothing of it."""
        try:
            if self.undone is not None:
                self._stack.__exit__(type(self.undone), self.undone, None)
            else:
                self._stack.close()
        except BaseException as error:
            self.undone = error
        finally:
            self.ended.set()
