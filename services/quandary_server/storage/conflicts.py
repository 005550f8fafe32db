"""Transactions that stood in each other's way: the database undid one, which is done again from its start."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from quandary.errors import Unavailable

__all__ = ["WriteConflict", "again_after_conflict"]

P = ParamSpec("P")
R = TypeVar("R")


class WriteConflict(Unavailable):
    """The database ended a transaction for the sake of another (a deadlock, say); nothing of it was kept."""


_again = retry(
    retry=retry_if_exception_type(WriteConflict),
    stop=stop_after_attempt(5),
    wait=wait_random_exponential(multiplier=0.02, max=1.0),
    reraise=True,
)


def again_after_conflict(transaction: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function that is one transaction and nothing else: it is called again where that had to give way."""
    retried = _again(transaction)

    @wraps(transaction)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return transaction(*args, **kwargs)  # nearly always that is all
        except WriteConflict:
            return retried(*args, **kwargs)

    return call
