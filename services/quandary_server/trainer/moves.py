"""What moves the pointer is told: in the log, in a metric, in the audit."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from prometheus_client import CollectorRegistry

from quandary.errors import QuandaryError
from quandary_server import metrics
from quandary_server.storage.audit import AuditEvent, PointerAction
from quandary_server.storage.store import Store

log = logging.getLogger(__name__)


class Cause(StrEnum):
    """Why the pointer moved: somebody called, a run promoted, replicas did not follow, or a live figure fell.

    FOUND: it was found moved, and nobody had told of it.
    """

    CALL = "call"
    RUN = "run"
    REPLICAS = "replicas"
    ERRORS = "errors"
    LATENCY = "latency"
    SCORES = "scores"
    QUALITY = "quality"
    FOUND = "found"


@dataclass(frozen=True)
class Move:
    """The pointer's move from `before`, empty where there was none, to `generation`.

    mover: who moved it. details: further facts for the audit, by name.
    """

    action: PointerAction
    generation: str
    before: str
    revision: int
    mover: str
    time: datetime
    cause: Cause
    reason: str = ""
    details: Mapping[str, str] = field(default_factory=dict)


Told = Callable[[Move], None]


def untold(_: Move) -> None:
    """Tell nobody."""


class Moves:
    """Tells every move. The pointer has moved by then: an audit that cannot be written is logged, and raises nothing."""

    def __init__(self, store: Store, registry: CollectorRegistry) -> None:
        self._audit = store.audit
        self._count = metrics.counter(metrics.TRAINER_POINTER_MOVES, registry)

    def tell(self, move: Move) -> None:
        """Tell one."""
        level = logging.WARNING if move.action is PointerAction.ROLL_BACK else logging.INFO
        log.log(
            level,
            "pointer_moved action=%s generation=%s before=%s mover=%s cause=%s reason=%s",
            *(move.action, move.generation, move.before or "none", move.mover, move.cause, move.reason),
        )
        self._count.labels(move.action.value, move.cause.value).inc()
        details = {
            "generation": move.generation,
            "before": move.before,
            "revision": str(move.revision),
            "cause": move.cause.value,
            **({"reason": move.reason} if move.reason else {}),
            **move.details,
        }
        try:
            self._audit.write(AuditEvent(move.time, move.mover, move.action, "", "", details))
        except QuandaryError as error:
            log.error("move_not_audited generation=%s problem=%s", move.generation, error)
