"""Who of several processes does what only one may do at a time: elected for a while, and known by a number that fences."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, select, update

from quandary.errors import Aborted
from quandary_server.storage.conflicts import again_after_conflict
from quandary_server.storage.database import Database
from quandary_server.storage.insertion import insert_missing
from quandary_server.storage.schema import elections

__all__ = ["RANKING", "Elections", "Lead", "check_leads"]

RANKING = "ranking"
"""The office of the selector that scores anew what waits, and ranks it."""


@dataclass(frozen=True, slots=True)
class Lead:
    """An office, and the number of the term in which its holder was elected: no two holders have the same."""

    office: str
    term: int


class Elections:
    """The elections of a store. Clocks of machines should agree to well below the time that a term lasts unless renewed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def term_ends(self, office: str) -> datetime | None:
        """Return when the term of an office ends unless it is renewed; None before the first."""
        with self._database.read() as connection:
            return connection.execute(select(elections.c.expires).where(elections.c.office == office)).scalar_one_or_none()

    @again_after_conflict
    def campaign(
        self,
        office: str,
        member: str,
        held: Lead | None,
        *,
        now: datetime,
        lasts: timedelta,
        silent: datetime | None = None,
    ) -> Lead | None:
        """Renew the member's term, or be elected where nobody is; return the lead, None while another has the office.

        held: what the member had before; None: it has just started, and takes the office from itself of before, whose term is
        over then. silent: the end of a term that is over before it, since nobody has renewed it for too long.
        """
        with self._database.read() as connection:
            found = connection.execute(select(elections).where(elections.c.office == office)).one_or_none()
        if found is not None and now < found.expires != silent and not _may_go_on(found.member, found.term, member, held):
            return None  # nearly always, and without a write
        with self._database.write_beside() as connection:
            nobody = {"office": office, "member": "", "term": 0, "expires": now}
            insert_missing(connection, elections, [nobody])
            found = connection.execute(select(elections).where(elections.c.office == office).with_for_update()).one()
            if now < found.expires != silent and not _may_go_on(found.member, found.term, member, held):
                return None
            mine = held is not None and (found.member, found.term) == (member, held.term)
            term = found.term if mine else found.term + 1
            values = {"member": member, "term": term, "expires": now + lasts}
            connection.execute(update(elections).where(elections.c.office == office).values(**values))
        return Lead(office, term)

    @again_after_conflict
    def resign(self, lead: Lead, *, now: datetime) -> None:
        """End the term at once, for another to take the office."""
        mine = (elections.c.office == lead.office) & (elections.c.term == lead.term)
        with self._database.write_beside() as connection:
            connection.execute(update(elections).where(mine).values(expires=now))


def check_leads(connection: Connection, lead: Lead | None) -> None:
    """Raise Aborted where another was elected since; within `write` nobody is until the transaction ends. None: no election."""
    if lead is None:
        return
    query = select(elections.c.member, elections.c.term).where(elections.c.office == lead.office)
    found = connection.execute(query).one()
    if found.term != lead.term:
        raise Aborted(f"{found.member} has been elected for {lead.office} since, in term {found.term}: this is of {lead.term}")


def _may_go_on(holder: str, term: int, member: str, held: Lead | None) -> bool:
    return holder == member and (held is None or held.term == term)
