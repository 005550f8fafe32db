"""Who of a group of selectors is alive: each says so again and again, and is forgotten once it does not."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType

from sqlalchemy import delete, insert, select, update

from quandary_server.storage.database import Database
from quandary_server.storage.schema import selectors

__all__ = ["Members"]

NOBODY: Mapping[str, datetime] = MappingProxyType({})


class Members:
    """The members of groups, in the store.

    Two may differ for a moment in whom they take for alive, and read the same source then; its offset lets one of them apply.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def beat(
        self, group: str, member: str, *, now: datetime, lasts: timedelta, silent: Mapping[str, datetime] = NOBODY
    ) -> Mapping[str, datetime]:
        """Say that the member is alive for as long as `lasts`, forget who was silent, and return all who are alive, sorted.

        Each with when it would be forgotten. silent: who is to be forgotten before that, unless it has said something since.
        """
        of_group = selectors.c.group == group
        own = of_group & (selectors.c.member == member)
        with self._database.write() as connection:
            connection.execute(delete(selectors).where(of_group, selectors.c.expires <= now))
            for other, expires in silent.items():
                connection.execute(
                    delete(selectors).where(of_group, selectors.c.member == other, selectors.c.expires == expires)
                )
            if not connection.execute(update(selectors).where(own).values(expires=now + lasts)).rowcount:
                connection.execute(insert(selectors).values(group=group, member=member, expires=now + lasts))
            query = select(selectors.c.member, selectors.c.expires).where(of_group).order_by(selectors.c.member)
            return {row.member: row.expires for row in connection.execute(query)}

    def leave(self, group: str, member: str) -> None:
        """Forget the member: others take over at once."""
        with self._database.write() as connection:
            connection.execute(delete(selectors).where(selectors.c.group == group, selectors.c.member == member))
