"""The lease order: pinned, priority band, rank, score, and a seeded shuffle among equals; what is folded is not in it."""

import math
import struct
from dataclasses import dataclass
from enum import IntEnum

from quandary.errors import InvalidArgument

__all__ = [
    "FOLDED_KEYS",
    "OPEN",
    "PINNED",
    "RANK_IN_KEY",
    "Place",
    "PriorityBand",
    "epoch_and_rank",
    "epoch_of",
    "keys_of",
    "packed_ranks",
    "query_of",
    "ranked_keys",
    "ranks_of",
    "unpicked_keys",
]

PINNED, OPEN, FOLDED = range(3)
FOLDED_KEYS = bytes([FOLDED])
"""Keys of tasks that may be leased are below it."""

RANK_IN_KEY = slice(2, 10)
"""Where `Place.key` has the rank, as `packed_ranks` packs it: behind the front and the band, a byte each."""

LAST = b"\xff" * 8
MAX_INTEGER = 2**63 - 1
RANKS, EPOCHS = 2**32, 2**31


class PriorityBand(IntEnum):
    """What stands in front of what: the smaller band first."""

    SAFETY = 1
    CAMPAIGN = 2
    ACTIVE_LEARNING = 3


@dataclass(frozen=True, slots=True)
class Place:
    """What decides when a frame's task is leased.

    rank: given by the last query, 0 first, None unless it picked the frame. epoch: of the query that gave the rank; every
    query has a smaller one than those before, so that its ranks stand in front of theirs. score: None while unscored. shuffle:
    decides among equals. folded: a near copy of another frame, not leased beside it; a pin unfolds it.
    Raises InvalidArgument for a score that is not finite, a rank outside [0, 2^32), an epoch outside [0, 2^31), or a shuffle
    outside [0, 2^63).
    """

    frame_id: str
    shuffle: int
    score: float | None = None
    rank: int | None = None
    band: PriorityBand = PriorityBand.ACTIVE_LEARNING
    pinned: bool = False
    folded: bool = False
    epoch: int = 0

    def __post_init__(self) -> None:
        if self.score is not None and not math.isfinite(self.score):
            raise InvalidArgument.of("score", self.score, "finite")
        if self.rank is not None and not 0 <= self.rank < RANKS:
            raise InvalidArgument.of("rank", self.rank, "in [0, 2^32)")
        if not 0 <= self.epoch < EPOCHS:
            raise InvalidArgument.of("epoch", self.epoch, "in [0, 2^31)")
        if not 0 <= self.shuffle <= MAX_INTEGER:
            raise InvalidArgument.of("shuffle", self.shuffle, "in [0, 2^63)")

    @property
    def can_be_leased(self) -> bool:
        """Whether the task, if it waits, is in the lease order."""
        return self.pinned or not self.folded

    def order(self) -> tuple[int, int, float, float, int, str]:
        """Return the sort key: the smallest is leased first; the unpicked come after the picked, the unscored last.

        The folded stand behind all others, in what would be their order.
        """
        rank = math.inf if self.rank_in_epoch is None else self.rank_in_epoch
        score = math.inf if self.score is None else -self.score
        return self._front, self.band, rank, score, self.shuffle, self.frame_id

    def key(self) -> bytes:
        """Return bytes that sort as `order()` does, so that an index of one column carries the order in any database."""
        rank = LAST if self.rank is None else struct.pack(">Q", self.epoch * RANKS + self.rank)
        score = LAST if self.score is None else _descending(self.score)
        head = struct.pack(">BB", self._front, self.band)
        return head + rank + score + struct.pack(">Q", self.shuffle) + self.frame_id.encode("ascii")

    @property
    def rank_in_epoch(self) -> int | None:
        """The epoch and the rank as one number, which sorts as both do; None without a rank."""
        return None if self.rank is None else self.epoch * RANKS + self.rank

    @property
    def _front(self) -> int:
        return PINNED if self.pinned else FOLDED if self.folded else OPEN


def keys_of(band: PriorityBand) -> tuple[bytes, bytes]:
    """Return two keys: the band's open places (not pinned, not folded) lie from the first on, before the second."""
    return struct.pack(">BB", OPEN, band), struct.pack(">BB", OPEN, band + 1)


def ranked_keys() -> list[tuple[bytes, bytes]]:
    """Return pairs of keys: places with a rank lie from the first of one on, before its second."""
    return [(head, head + LAST) for head in _heads(PINNED, OPEN, FOLDED)]


def unpicked_keys(*, folded: bool) -> list[tuple[bytes, bytes]]:
    """Return pairs of keys: places with a score and no rank lie from the first of one on, before its second.

    folded: those behind all others too. What is folded and pinned is among those of the pinned.
    """
    fronts = (PINNED, OPEN, FOLDED) if folded else (PINNED, OPEN)
    return [(head + LAST, head + LAST + LAST) for head in _heads(*fronts)]


def epoch_and_rank(rank_in_epoch: int) -> tuple[int, int]:
    """Return what `Place.rank_in_epoch` was made of."""
    return divmod(rank_in_epoch, RANKS)


def ranks_of(epoch: int) -> tuple[int, int]:
    """Return the smallest and the largest `Place.rank_in_epoch` of an epoch's places."""
    return epoch * RANKS, epoch * RANKS + RANKS - 1


def packed_ranks(first: int, count: int) -> bytes:
    """Return `count` ranks from a `Place.rank_in_epoch` on as keys have them, 8 bytes each."""
    return struct.pack(f">{count}Q", *range(first, first + count))


def epoch_of(query: int) -> int:
    """Return the epoch of the query of this number, counted from 1 on. Raises InvalidArgument from 2^31 on."""
    if not 0 < query < EPOCHS:
        raise InvalidArgument.of("query", query, "in [1, 2^31)")
    return EPOCHS - query


def query_of(epoch: int) -> int:
    """Return the number of the query whose epoch this is."""
    return EPOCHS - epoch


def _heads(*fronts: int) -> list[bytes]:
    return [struct.pack(">BB", front, band) for front in fronts for band in PriorityBand]


def _descending(score: float) -> bytes:
    # The bits of an IEEE double sort as the number does once the sign bit is flipped, and all bits of negative ones.
    bits: int = struct.unpack(">Q", struct.pack(">d", score + 0.0))[0]  # + 0.0 makes -0.0 equal 0.0
    ascending = bits ^ (0xFFFF_FFFF_FFFF_FFFF if bits >> 63 else 1 << 63)
    return struct.pack(">Q", ascending ^ 0xFFFF_FFFF_FFFF_FFFF)
