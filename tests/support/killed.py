"""Run by itself: killed.py FOLDER SEED ROUNDS. Children register, promote, pin and prune in a registry until they are killed.

Prints a line of JSON: how many were killed, and what was found broken afterwards.
"""

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from quandary.errors import QuandaryError
from quandary_server.registry.directory import Registry
from quandary_server.registry.retention import Retention, prune
from support.registering import register

BUSY_S = 0.12
LARGE = 1 << 14


def work(folder: Path, seed: int) -> None:
    """Register, promote, roll back, pin and prune by chance, without an end."""
    rng, registry = random.Random(seed), Registry(folder)

    def promote() -> None:
        registry.promote(rng.choice(registry.generations()), registry.pointer(), datetime.now(UTC), f"process-{os.getpid()}")

    def roll_back() -> None:
        if pointer := registry.pointer():
            registry.roll_back(pointer, datetime.now(UTC), "me")

    works: list[Callable[[], object]] = [
        lambda: register(registry, {f"member-{k}.onnx": rng.randbytes(LARGE) for k in range(2)}),
        promote,
        promote,
        roll_back,
        lambda: registry.pin(rng.choice(registry.generations()), rng.random() < 0.3),
        lambda: prune(registry, Retention(keep=2), datetime.now(UTC)),
    ]
    while True:
        # another one may be first, or nothing may be there yet
        with suppress(QuandaryError, IndexError):
            rng.choice(works)()


def broken(folder: Path) -> list[str]:
    """Return what is wrong with a registry that nobody works on."""
    registry, problems = Registry(folder), []
    try:
        pointer = registry.pointer()
        if pointer is not None:
            registry.load(pointer.generation, pointer.manifest_digest)
            for name in {pointer.previous, *pointer.pinned} - {None}:
                registry.load(str(name))
        for name in registry.generations():
            registry.load(name)
    except QuandaryError as error:
        problems.append(str(error))
    numbers = Counter(name[:7] for name in registry.folders())
    return problems + [f"number {number} was given twice" for number, count in numbers.items() if count > 1]


def main(folder: Path, seed: int, rounds: int) -> None:
    rng, problems, revisions = random.Random(seed), list[str](), [0]
    for number in range(rounds):
        children = []
        for child in range(2):
            if not (process := os.fork()):
                work(folder, seed + 2 * number + child)
            children.append(process)
        time.sleep(rng.random() * BUSY_S)
        for process in children:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
        problems += broken(folder)
        pointer = Registry(folder).pointer() if not problems else None
        revisions.append(pointer.revision if pointer else 0)
    forward = all(a <= b for a, b in pairwise(revisions)) or bool(problems)
    print(json.dumps({"killed": 2 * rounds, "moves": revisions[-1], "forward": forward, "broken": problems}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
