"""Jobs in a window, on the session's Ray of two CPUs."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import ray

from quandary_server.experiment.window import Job, cluster_width, run_in_order

pytestmark = pytest.mark.usefixtures("ray_cluster")

Task = Callable[[], Iterator[str]]


def job(task: Task, log: list[str], name: str, keep: Callable[[Any], None] | None = None) -> Job:
    """A job that logs when it begins and what it yields."""

    def start() -> Any:
        log.append(f"{name} begins")
        return ray.remote(num_cpus=1)(task).remote()

    return Job(start, keep or (lambda found: log.append(f"{name} {found}")))


def twice() -> Iterator[str]:
    yield "first"
    yield "last"


def cluster_is_free() -> bool:
    """Whether all CPUs are free within a minute: a task that takes them all can run."""
    everything = ray.remote(num_cpus=cluster_width())(lambda: True)
    found: bool = ray.get(everything.remote(), timeout=60)
    return found


def test_jobs_begin_in_their_order_each_as_one_ends() -> None:
    log: list[str] = []
    run_in_order([job(twice, log, str(i)) for i in range(6)], 2)
    assert [line for line in log if line.endswith("begins")] == [f"{i} begins" for i in range(6)]
    assert sorted(log) == sorted(f"{i} {what}" for i in range(6) for what in ("begins", "first", "last"))
    for i in range(6):
        assert log.index(f"{i} begins") < log.index(f"{i} first") < log.index(f"{i} last")
        ended = sum(line.endswith("last") for line in log[: log.index(f"{i} begins")])
        assert i - ended < 2


def test_no_jobs_and_jobs_that_yield_nothing_end() -> None:
    def nothing() -> Iterator[str]:
        yield from ()

    log: list[str] = []
    run_in_order([], 2)
    run_in_order([job(nothing, log, "empty")], 2)
    assert log == ["empty begins"]


def test_the_first_error_is_raised_and_the_others_are_cancelled() -> None:
    def endless() -> Iterator[str]:
        yield "first"
        threading.Event().wait()

    def failing() -> Iterator[str]:
        yield "first"
        raise ValueError("its loss is not finite")

    log: list[str] = []
    with pytest.raises(ValueError, match=r"^its loss is not finite$"):
        run_in_order([job(endless, log, "endless"), job(failing, log, "failing"), job(twice, log, "third")], 2)
    assert "failing first" in log
    assert "third begins" not in log
    assert cluster_is_free()


def test_an_interruption_cancels_what_runs() -> None:
    def endless() -> Iterator[str]:
        yield "first"
        threading.Event().wait()

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    log: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        run_in_order([job(endless, log, "one", interrupt), job(endless, log, "two"), job(endless, log, "three")], 2)
    assert "three begins" not in log
    assert cluster_is_free()


def test_the_width_is_that_of_the_cluster() -> None:
    assert cluster_width() == 2
