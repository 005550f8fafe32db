"""Listings in pages, each continued behind the last item of the page before (keyset)."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from quandary.errors import InvalidArgument

__all__ = ["MAX_PAGE_SIZE", "Page", "check_page_size", "continued_behind", "page_of", "serial"]

MAX_PAGE_SIZE = 500
MAX_TOKEN_CHARACTERS = 2048

Item = TypeVar("Item")
Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some items of a listing and the token of the next page, empty on the last."""

    items: tuple[Item, ...]
    next_token: str


def check_page_size(page_size: int) -> int:
    """Return the page size; raises InvalidArgument unless it is 1 to 500."""
    if not 1 <= page_size <= MAX_PAGE_SIZE:
        raise InvalidArgument.of("page_size", page_size, f"1 to {MAX_PAGE_SIZE}")
    return page_size


def page_of(listing: str, items: Sequence[Item], page_size: int, key: Callable[[Item], object]) -> Page[Item]:
    """Return the page of items of which one more than `page_size` was read, if there was one more.

    listing: names the listing with its filters, so that no other can be continued with the token.
    """
    if len(items) <= page_size:
        return Page(tuple(items), "")
    kept = tuple(items[:page_size])
    token = base64.urlsafe_b64encode(json.dumps([listing, str(key(kept[-1]))]).encode()).decode()
    return Page(kept, token)


def continued_behind(listing: str, token: str, parse: Callable[[str], Key]) -> Key | None:
    """Return the key of the last item before the page, None for the empty token.

    Raises InvalidArgument for a token that is malformed or belongs to another listing.
    """
    if not token:
        return None
    try:
        if len(token) <= MAX_TOKEN_CHARACTERS:
            match json.loads(base64.b64decode(token, altchars=b"-_", validate=True)):
                case [str(of), str(key)] if of == listing:
                    return parse(key)
    except (binascii.Error, ValueError, RecursionError):
        pass
    raise InvalidArgument.of("page_token", repr(token), "empty, or the next_page_token of this very listing")


def serial(text: str) -> int:
    """Return a serial number of the database; raises ValueError if it is none."""
    number = int(text)
    if not 0 <= number < 2**63:
        raise ValueError(text)
    return number
