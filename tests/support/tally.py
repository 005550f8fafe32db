"""Counts what became of records."""

from collections import Counter

from quandary_server.storage.task_values import RejectKind


class CountingTally:
    """How many records were applied, and rejected by kind."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def applied(self, count: int) -> None:
        self.counts["applied"] += count

    def rejected(self, kind: RejectKind, count: int) -> None:
        self.counts[kind.value] += count
