"""What keeps a log from being read, told now and then."""

import logging
import time
from collections.abc import Callable

from quandary_server.now_and_then import NowAndThen

__all__ = ["Outages"]

log = logging.getLogger(__name__)


class Outages:
    """Tells each problem of a source now and then. clock: seconds that never go back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._turns = NowAndThen[tuple[str, str, str]](clock)

    def tell(self, event: str, source: str, error: Exception, *, trace: bool = False) -> None:
        """Log what happened to a source, unless that was told a while ago; trace: where in our own code, too."""
        said = (event, source, str(error))
        if self._turns.due(said):
            log.warning("%s source=%s problem=%s", *said, exc_info=error if trace else None)
