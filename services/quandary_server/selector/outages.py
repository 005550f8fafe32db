"""What keeps a log from being read, told now and then: an outage of an hour is a hundred lines, not a hundred thousand."""

import logging
import time
from collections.abc import Callable

__all__ = ["TOLD_AGAIN_S", "Outages"]

log = logging.getLogger(__name__)

TOLD_AGAIN_S = 30.0


class Outages:
    """Tells each problem of a source once in 30 s.

    clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: dict[tuple[str, str, str], float] = {}

    def tell(self, event: str, source: str, error: Exception, *, trace: bool = False) -> None:
        """Log what happened to a source, unless that was told a while ago; trace: where in our own code, too."""
        at, said = self._clock(), (event, source, str(error))
        self._told = {told: then for told, then in self._told.items() if at - then < TOLD_AGAIN_S}
        if said not in self._told:
            self._told[said] = at
            log.warning("%s source=%s problem=%s", *said, exc_info=error if trace else None)
