"""A lock that is given in the order of asking."""

import os
import signal
import threading

import pytest

from quandary_server.storage.turns import Turns


def test_one_at_a_time() -> None:
    turns, inside, most = Turns(), 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(200):
            with turns:
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (inside, most) == (0, 1)


def until_waiting(turns: Turns, count: int) -> None:
    while turns.waiting < count:
        os.sched_yield()


def test_whoever_asks_again_comes_after_those_who_wait() -> None:
    turns = Turns()
    order: list[str] = []

    def work(name: str) -> None:
        with turns:
            order.append(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("first", "second")]
    with turns:
        for waiting, thread in enumerate(threads, start=1):
            thread.start()
            until_waiting(turns, waiting)
    with turns:
        order.append("again")
    for thread in threads:
        thread.join()
    assert order == ["first", "second", "again"]


def test_who_is_interrupted_while_waiting_leaves_the_line() -> None:
    class Interrupted(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    turns, held, let_go = Turns(), threading.Event(), threading.Event()
    main = threading.get_ident()

    def hold() -> None:
        with turns:
            held.set()
            until_waiting(turns, 1)
            signal.pthread_kill(main, signal.SIGUSR1)
            let_go.wait()

    before = signal.signal(signal.SIGUSR1, interrupt)
    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    try:
        with pytest.raises(Interrupted), turns:
            pass
    finally:
        signal.signal(signal.SIGUSR1, before)
        let_go.set()
        holder.join()
    assert turns.waiting == 0
    with turns:
        pass


def test_an_error_inside_hands_it_on() -> None:
    turns = Turns()
    with pytest.raises(KeyError), turns:
        raise KeyError
    with turns:
        pass
