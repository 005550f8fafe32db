"""Which selector of a store scores anew and ranks: one at a time, and another one soon after it dies."""

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from quandary.errors import QuandaryError
from quandary_server.silence import Silence
from quandary_server.storage.elections import Elections, Lead

__all__ = ["Candidacy"]

log = logging.getLogger(__name__)

TERM_SHARE, ASKING_SHARE = 2 / 3, 1 / 6
"""Of the time within which the dead are replaced: how long a term is unless renewed, and how often all ask."""


class Candidacy:
    """Stands for an office, from a thread of its own, for as long as it runs.

    within: how long after its holder's death another has the office, at the longest.
    """

    def __init__(
        self, elections: Elections, office: str, member: str, clock: Callable[[], datetime], within: timedelta
    ) -> None:
        self._elections, self._office, self._member = elections, office, member
        self._clock, self._term, self._every_s = clock, within * TERM_SHARE, within.total_seconds() * ASKING_SHARE
        self._silence = Silence(self._term)
        self._held: Lead | None = None
        self._until: datetime | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask_on, name="candidacy", daemon=True)

    def begin(self) -> None:
        """Stand from now on; raises Unavailable."""
        self._ask()
        self._thread.start()

    def lead(self) -> Lead | None:
        """Return the lead while this process is elected, as far as it knows: what it writes is fenced by it all the same."""
        until = self._until
        return self._held if until is not None and self._clock() < until else None

    def end(self) -> None:
        """Stand no more, and resign."""
        self._over.set()
        self._thread.join()
        lead, self._until = self.lead(), None
        if lead is not None:
            try:
                self._elections.resign(lead, now=self._clock())
            except QuandaryError as error:
                log.warning("not_resigned office=%s problem=%s", self._office, error)

    def _ask(self) -> None:
        now, before = self._clock(), self._until
        ends = self._elections.term_ends(self._office)
        silent = self._silence.among({self._office: ends} if ends else {}).get(self._office)
        lead = self._elections.campaign(self._office, self._member, self._held, now=now, lasts=self._term, silent=silent)
        if lead is not None:
            if lead != self._held or before is None:
                log.info("elected office=%s member=%s term=%d", self._office, self._member, lead.term)
            self._held, self._until = lead, now + self._term
        elif before is not None:
            log.warning("not_elected_any_more office=%s member=%s", self._office, self._member)
            self._until = None

    def _ask_on(self) -> None:
        while not self._over.wait(self._every_s):
            try:
                self._ask()
            except QuandaryError as error:
                log.warning("election_not_held office=%s problem=%s", self._office, error)
            except Exception:  # whatever it is: who asks no more would never lead again
                log.exception("election_not_held office=%s", self._office)
