"""Which queue a frame belongs to, and its place among the unscored."""

import hashlib
from dataclasses import dataclass

from quandary_server.storage.task_values import ACTIVE_QUEUE, CONTROL_QUEUE


@dataclass(frozen=True)
class Assignment:
    """Control drives are named, or drawn by a stable hash: `share` of all drives, the same ones for ever.

    Only a drive that is new to the store is assigned: a known one stays in the queue it has (storage's `plan_intake`).
    """

    share: float
    named: frozenset[str]
    seed: int

    def queue(self, drive_id: str) -> str:
        """Return the queue of a drive's frames."""
        control = drive_id in self.named or _fraction(f"control/{drive_id}") < self.share
        return CONTROL_QUEUE if control else ACTIVE_QUEUE

    def shuffle(self, frame_id: str) -> int:
        """Return the frame's place in the seeded random order, in [0, 2^63)."""
        return _hash(f"shuffle/{self.seed}/{frame_id}") >> 1


def _fraction(text: str) -> float:
    return _hash(text) / 2**64


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
