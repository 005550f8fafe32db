"""What Kafka's clients tell of their connections, in the log."""

import logging
import time
from collections.abc import Callable

from confluent_kafka import KafkaError

from quandary_server.now_and_then import NowAndThen

__all__ = ["ClientLog", "Problems"]

events = logging.getLogger(__name__)


class Problems:
    """Tells each kind of problem of a client now and then: while no broker answers, it has some ten of them a second.

    clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._turns = NowAndThen[int](clock)

    def tell(self, error: KafkaError) -> None:
        """Log a problem, unless one of its kind was a while ago."""
        if self._turns.due(error.code()):
            events.warning("kafka_problem code=%s problem=%s", error.name(), error.str())


class ClientLog:
    """Passes on what librdkafka logs, but for each connection that failed: of those `Problems` tells, and a client has many."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def log(self, level: int, message: str, *arguments: object) -> None:
        """Log what librdkafka says, its facility first."""
        if arguments[:1] != ("FAIL",):
            self._logger.log(level, message, *arguments)
