"""Libraries that are installed only by those who use them."""

from collections.abc import Iterator
from contextlib import contextmanager

from quandary.errors import Unavailable

__all__ = ["needed"]


@contextmanager
def needed(extra: str, purpose: str) -> Iterator[None]:
    """Import what an extra of the package installs; raises Unavailable that says how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise Unavailable(f"{error.name} is needed {purpose}: pip install 'quandary[{extra}]'") from None
