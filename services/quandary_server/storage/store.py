"""The store: everything of a Quandary that is asked for by name, in one database."""

import logging
from datetime import timedelta
from pathlib import Path

from quandary.errors import QuandaryError
from quandary_server.leasing.bands import PASSED_OVER_AT_MOST
from quandary_server.leasing.machine import MAX_FAILED_LEASES
from quandary_server.storage.audit import Audit
from quandary_server.storage.database import Database
from quandary_server.storage.elections import Elections
from quandary_server.storage.embeddings import Embeddings
from quandary_server.storage.intake import Intake
from quandary_server.storage.labels import Labels
from quandary_server.storage.leases import Leases
from quandary_server.storage.live_scores import LiveScores
from quandary_server.storage.members import Members
from quandary_server.storage.opening import open_database, url_of
from quandary_server.storage.options import DEFAULTS, HELD_OFF, ROWS_AT_ONCE, StoreOptions
from quandary_server.storage.priorities import Priorities
from quandary_server.storage.ranking import Ranking
from quandary_server.storage.recent import RecentFrames
from quandary_server.storage.revisions import StoreSchema
from quandary_server.storage.run_log import RunLog
from quandary_server.storage.runs import Runs
from quandary_server.storage.task_list import TaskList

__all__ = ["Store"]

log = logging.getLogger(__name__)


class Store:
    """The store of one Quandary: safe to use from many threads, and by several processes at once. All calls block.

    intake: from the fleet logs into the queues. leases: what labellers do. priorities: pins, bands, and what is put back.
    ranking: scores and ranks of what waits. tasks: the queues to look at. live_scores: how frames were scored as they came.
    members: the selectors alive; elections: which of them ranks. recent: frames scored of late. embeddings: of the labelled
    frames. labels, runs, run_log, audit: what their names say.
    """

    def __init__(
        self,
        database: Database,
        max_failed_leases: int,
        passed_over_at_most: int = PASSED_OVER_AT_MOST,
        rows_at_once: int = ROWS_AT_ONCE["sqlite"],
        held_off: timedelta | None = None,
    ) -> None:
        self._database = database
        self.intake = Intake(database, max_failed_leases)
        self.leases = Leases(database, max_failed_leases, passed_over_at_most)
        self.priorities = Priorities(database, max_failed_leases)
        self.ranking = Ranking(database, max_failed_leases, rows_at_once, held_off)
        self.tasks = TaskList(database, max_failed_leases)
        self.labels = Labels(database, max_failed_leases)
        self.recent = RecentFrames(database)
        self.runs = Runs(database)
        self.run_log = RunLog(database)
        self.live_scores = LiveScores(database)
        self.members = Members(database)
        self.elections = Elections(database)
        self.embeddings = Embeddings(database)
        self.audit = Audit(database)

    @classmethod
    def open(
        cls,
        place: str | Path,
        *,
        max_failed_leases: int = MAX_FAILED_LEASES,
        passed_over_at_most: int = PASSED_OVER_AT_MOST,
        options: StoreOptions = DEFAULTS,
    ) -> "Store":
        """Open the store at a path, `sqlite:///` or `postgresql://` URL, a new one with the queues `active` and `control`.

        max_failed_leases: leases that may expire before a task becomes a dead letter; passed_over_at_most: leases that may
        pass a waiting band over before it gets one. Both the same for all who open it. Raises
        InvalidArgument for another kind of URL, WrongState for another kind of database or revision, CorruptArtefact
        for a file that is no database, Unavailable where it cannot be opened.
        """
        url = url_of(place)
        may_upgrade = url.get_backend_name() == "sqlite" if options.upgrade is None else options.upgrade
        database = open_database(url, StoreSchema(may_upgrade), options)
        kind = url.get_backend_name()
        if options.rows_at_once:
            return cls(database, max_failed_leases, passed_over_at_most, options.rows_at_once)
        return cls(database, max_failed_leases, passed_over_at_most, ROWS_AT_ONCE[kind], HELD_OFF[kind])

    def answers(self) -> bool:
        """Return whether the database can be read now; what keeps it from that is logged."""
        try:
            self._database.probe()
        except (QuandaryError, OSError) as error:
            log.warning("store_does_not_answer problem=%s", error)
            return False
        return True

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
