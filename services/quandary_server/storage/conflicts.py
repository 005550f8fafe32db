"""Transactions that stood in each other's way: the database undid one, which is done again from its start."""

from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from quandary.errors import Unavailable

__all__ = ["WriteConflict", "again_after_conflict"]


class WriteConflict(Unavailable):
    """The database ended a transaction for the sake of another (a deadlock, say); nothing of it was kept."""


again_after_conflict = retry(
    retry=retry_if_exception_type(WriteConflict),
    stop=stop_after_attempt(6),
    wait=wait_random_exponential(multiplier=0.02, max=1.0),
    reraise=True,
)
"""Decorates a function that is one transaction and nothing else: it is called again where that had to give way."""
