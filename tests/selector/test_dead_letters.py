"""What is rejected goes on to a box of dead letters, which may be away: no frame waits for it."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from quandary.errors import Unavailable
from quandary_server.selector.dead_letters import DeadLetters
from quandary_server.storage.store import Store
from quandary_server.storage.task_values import RejectedEntry

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


class Box:
    """Takes letters while it is open."""

    def __init__(self) -> None:
        self.open = True
        self.tries = 0
        self.taken: list[tuple[str, int]] = []

    def send(self, source: str, letters: Sequence[RejectedEntry]) -> None:
        self.tries += 1
        if not self.open:
            raise Unavailable("the topic cannot be written")
        self.taken += [(source, letter.position) for letter in letters]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.db") as opened:
        yield opened


def reject(store: Store, source: str, position: int) -> None:
    entry = RejectedEntry(position, "wrong", b"x")
    store.intake.apply([entry], log=source, after=store.intake.offset(source), position=position, now=NOW)


def letters_of(box: Box, store: Store) -> DeadLetters:
    return DeadLetters(box, store, lambda: NOW, lambda _: None)


async def until(condition: object, letters: DeadLetters) -> None:
    """Let letters be sent until the condition holds."""
    running = asyncio.create_task(letters.run(timedelta(milliseconds=1)))
    while not condition():  # type: ignore[operator]
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_letters_wait_for_their_box_and_come_in_order(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    box = Box()
    box.open = False
    letters = letters_of(box, store)
    letters.reads(["a", "b"])
    for position in (3, 5):
        reject(store, "a", position)
        letters.due("a")
    asyncio.run(until(lambda: box.tries >= 5, letters))
    assert "dead_letters_wait source=a problem=the topic cannot be written" in caplog.messages
    box.open = True
    asyncio.run(until(lambda: len(box.taken) == 2, letters))
    assert box.taken == [("a", 3), ("a", 5)]


def test_what_another_left_unsent_goes_with_the_source(store: Store) -> None:
    box = Box()
    letters = letters_of(box, store)
    letters.reads(["a"])
    asyncio.run(until(lambda: store.intake.offset("a") == 0, letters))
    letters.forward("a")
    letters.reads([])  # another reads it, and is killed between the commit and the sending
    reject(store, "a", 2)
    letters.reads(["a"])
    asyncio.run(until(lambda: box.taken, letters))
    assert box.taken == [("a", 2)]


def test_what_is_rejected_while_letters_are_sent_is_sent_too(store: Store) -> None:
    class Late(Box):
        def send(self, source: str, letters: Sequence[RejectedEntry]) -> None:
            super().send(source, letters)
            if len(self.taken) == 1:
                reject(store, source, 2)
                forwarding.due(source)

    box = Late()
    forwarding = letters_of(box, store)
    reject(store, "a", 1)
    forwarding.reads(["a"])
    asyncio.run(until(lambda: len(box.taken) == 2, forwarding))
    assert box.taken == [("a", 1), ("a", 2)]
