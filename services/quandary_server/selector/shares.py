"""Which sources of a log each selector of a group reads."""

import hashlib
from collections.abc import Sequence

__all__ = ["share_of"]


def share_of(member: str, members: Sequence[str], sources: Sequence[str], *, even: bool) -> tuple[str, ...]:
    """Return the member's share of the sources, in their order.

    Rendezvous hashing (Thaler and Ravishankar 1998): each source goes to the member that likes it best, so all who know the
    same members agree, and a member that comes or goes moves no other sources than its own. even: each member has room for
    an even share, rounded up, and a source goes to the best of those with room; only for sources that all members know
    alike, since then one source decides about another.
    """
    if member not in members:
        return ()
    room = dict.fromkeys(members, -(-len(sources) // len(members)) if even else len(sources))
    mine = set()
    for source in sorted(sources):
        best = max((m for m in members if room[m]), key=lambda m: (_liking(source, m), m))
        room[best] -= 1
        if best == member:
            mine.add(source)
    return tuple(source for source in sources if source in mine)


def _liking(source: str, member: str) -> bytes:
    return hashlib.blake2b(f"{source}\n{member}".encode(), digest_size=8).digest()
