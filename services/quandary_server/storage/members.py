"""Who of a group of selectors is alive: each says so again and again, and is forgotten once it does not."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, insert, select, update

from quandary_server.storage.database import Database
from quandary_server.storage.schema import selectors

__all__ = ["Members"]


class Members:
    """The members of groups, in the store.

    Two may differ for a moment in whom they take for alive, and read the same source then; its offset lets one of them apply.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def beat(self, group: str, member: str, *, now: datetime, lasts: timedelta) -> Sequence[str]:
        """Say that the member is alive for as long as `lasts`, forget who was silent, and return all who are alive, sorted."""
        own = (selectors.c.group == group) & (selectors.c.member == member)
        with self._database.write() as connection:
            connection.execute(delete(selectors).where(selectors.c.group == group, selectors.c.expires <= now))
            if not connection.execute(update(selectors).where(own).values(expires=now + lasts)).rowcount:
                connection.execute(insert(selectors).values(group=group, member=member, expires=now + lasts))
            query = select(selectors.c.member).where(selectors.c.group == group).order_by(selectors.c.member)
            return tuple(connection.execute(query).scalars())

    def leave(self, group: str, member: str) -> None:
        """Forget the member: others take over at once."""
        with self._database.write() as connection:
            connection.execute(delete(selectors).where(selectors.c.group == group, selectors.c.member == member))
