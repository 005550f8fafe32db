"""Which queue a frame belongs to, and its place among the unscored."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from quandary_server.settings import QueueSettings
from quandary_server.storage.task_values import ACTIVE_QUEUE, CONTROL_QUEUE


@dataclass(frozen=True)
class Assignment:
    """Control drives are named, or drawn by a stable hash: `share` of all drives, the same ones for ever.

    Only a drive that is new to the store is assigned: a known one is a control drive or not as it was (storage's
    `plan_intake`). queues: of the frames of other drives the first that takes one has it, `active` what none takes.
    """

    share: float
    named: frozenset[str]
    seed: int
    queues: Sequence[QueueSettings] = ()

    def is_control(self, drive_id: str) -> bool:
        """Return whether a new drive is a control drive: no rule of a queue changes that."""
        return drive_id in self.named or _fraction(f"control/{drive_id}") < self.share

    def ranked_queue(self, drive_id: str, tags: Mapping[str, str]) -> str:
        """Return the queue of a frame, where its drive is no control drive."""
        return next((queue.name for queue in self.queues if queue.takes(drive_id, tags)), ACTIVE_QUEUE)

    def queue(self, drive_id: str, tags: Mapping[str, str]) -> str:
        """Return the queue of a frame of a new drive."""
        return CONTROL_QUEUE if self.is_control(drive_id) else self.ranked_queue(drive_id, tags)

    def shuffle(self, frame_id: str) -> int:
        """Return the frame's place in the seeded random order, in [0, 2^63)."""
        return _hash(f"shuffle/{self.seed}/{frame_id}") >> 1


def _fraction(text: str) -> float:
    return _hash(text) / 2**64


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
