"""Whose work comes next: flows take turns by the seconds of work that they get."""

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass
class _Flow(Generic[Item]):
    start_s: float
    items: deque[tuple[Item, float]] = field(default_factory=deque)


class FairQueue(Generic[Item]):
    """Items wait by flow; the flow that has had least work comes next, its own items in their order.

    That is start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996): a flow that comes from idling begins level with the
    one served last, so that it neither waits for what others have had nor is repaid for what it left unused. `favoured` is the
    flow that counts as much as all others together, and goes first among equals.
    """

    def __init__(self, favoured: Hashable) -> None:
        self._favoured = favoured
        self._flows: dict[Hashable, _Flow[Item]] = {}
        self._now_s = 0.0

    def __bool__(self) -> bool:
        return any(flow.items for flow in self._flows.values())

    def push(self, flow: Hashable, item: Item, work_s: float) -> None:
        """Put an item, which takes `work_s` seconds, behind the others of its flow."""
        self._flows.setdefault(flow, _Flow(self._now_s)).items.append((item, work_s))

    def pop(self) -> Item | None:
        """Take the next item; None where nothing waits."""
        busy = {key: flow for key, flow in self._flows.items() if flow.items}
        if not busy:
            return None
        key = min(busy, key=lambda key: (busy[key].start_s, key != self._favoured))
        chosen = busy[key]
        self._now_s = chosen.start_s
        item, work_s = chosen.items.popleft()
        self._count(key, chosen, work_s, len(busy))
        self._forget()
        return item

    def take_all(self, wanted: Callable[[Item], bool]) -> None:
        """Offer every item to `wanted`, flows in their turns, and take those it wants: each counts as if its turn had come."""
        busy = {key: flow for key, flow in self._flows.items() if flow.items}
        for key in sorted(busy, key=lambda key: (busy[key].start_s, key != self._favoured)):
            kept: deque[tuple[Item, float]] = deque()
            for item, work_s in busy[key].items:
                if wanted(item):
                    self._count(key, busy[key], work_s, len(busy))
                else:
                    kept.append((item, work_s))
            busy[key].items = kept
        self._forget()

    def charge(self, flow: Hashable, work_s: float) -> None:
        """Count `work_s` seconds of a flow that are done without waiting here."""
        busy = {flow, *(key for key, other in self._flows.items() if other.items)}
        self._count(flow, self._flows.setdefault(flow, _Flow(self._now_s)), work_s, len(busy))

    def discard(self, flow: Hashable, item: Item) -> None:
        """Take out an item that waits; nothing where it does not."""
        if (waiting := self._flows.get(flow)) is not None:
            waiting.items = deque(entry for entry in waiting.items if entry[0] is not item)

    def _count(self, key: Hashable, flow: _Flow[Item], work_s: float, busy: int) -> None:
        flow.start_s += work_s / max(busy - 1, 1) if key == self._favoured else work_s

    def _forget(self) -> None:
        """Forget flows that wait for nothing; one that has had its due is remembered until the others have caught up."""
        self._flows = {key: flow for key, flow in self._flows.items() if flow.items or flow.start_s > self._now_s}

    def others_wait(self, flow: Hashable) -> bool:
        """Return whether items of other flows wait."""
        return any(other.items for key, other in self._flows.items() if key != flow)
