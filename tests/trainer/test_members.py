"""Members fitted on a real Ray: in turns, through the death of a worker, from checkpoints, and to the same bytes."""

import os
import signal
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from support.examples import SMALL_NET, random_examples

from quandary_server.detector.export import export_onnx
from quandary_server.detector.fitting import fit_member
from quandary_server.detector.settings import FitSettings
from quandary_server.trainer.checkpoints import Checkpoints, examples_digest, fit_digest
from quandary_server.trainer.member_fit import MemberTask, fit_slice
from quandary_server.trainer.members import FitProgress, fit_members

FIT = FitSettings(steps=48, batch=8, report_every=2)
EXAMPLES = random_examples(40)
SEEDS = [3, 4, 5]


class EndedEarly(Exception):
    """Raised by whoever is told the progress, as a cancelled run does."""


@pytest.fixture(scope="module")
def uninterrupted() -> list[bytes]:
    return [export_onnx(fit_member(EXAMPLES, SMALL_NET, FIT, seed))[0] for seed in SEEDS]


def test_slices_end_by_steps_or_by_the_clock_and_come_to_the_same_member(uninterrupted: list[bytes]) -> None:
    task = MemberTask(SMALL_NET, FIT, SEEDS[0], timedelta(seconds=10))
    reached, steps = None, []
    while reached is None or not reached.finished:
        reached = fit_slice(EXAMPLES, task, reached, clock=lambda: 0.0)
        steps.append(reached.step)
    assert steps == [6, 12, 18, 24, 30, 36, 42, 48]
    assert reached.body == uninterrupted[0]
    times = iter([0.0, 9.0, 10.0])
    assert fit_slice(EXAMPLES, task, None, clock=lambda: next(times)).step == 4


@pytest.mark.usefixtures("ray_cluster")
def test_a_fit_that_ended_early_goes_on_from_its_checkpoints(tmp_path: Path, uninterrupted: list[bytes]) -> None:
    kept, told = Checkpoints(tmp_path / "run"), list[FitProgress]()

    def end_half_way(progress: FitProgress) -> None:
        told.append(progress)
        if progress.share >= 0.5:
            raise EndedEarly

    with pytest.raises(EndedEarly):
        fit_members(EXAMPLES, SMALL_NET, FIT, SEEDS, end_half_way, kept)
    begun = told[-1].share
    torn = tmp_path / "run" / "member-0.0"
    torn.write_bytes(torn.read_bytes()[:-1])
    found = [kept.newest(k, fit_digest(examples_digest(EXAMPLES), SMALL_NET, FIT, seed)) for k, seed in enumerate(SEEDS)]
    assert sum(c.step for c in found if c) >= 0.4 * begun * FIT.steps * len(SEEDS)

    told.clear()
    members = fit_members(EXAMPLES, SMALL_NET, FIT, SEEDS, told.append, Checkpoints(tmp_path / "run"))
    assert [member.model for member in members] == uninterrupted
    assert told[0].share > 0
    assert (told[-1].share, told[-1].finished) == (1.0, 3)
    # all are done: nothing is fitted any more
    again = fit_members(EXAMPLES, SMALL_NET, FIT, SEEDS, told.append, Checkpoints(tmp_path / "run"))
    assert again == members


@pytest.mark.usefixtures("ray_cluster")
def test_a_worker_that_is_killed_costs_its_slice_alone(uninterrupted: list[bytes]) -> None:
    killed: list[int] = []

    def kill_one(progress: FitProgress) -> None:
        if progress.share > 0.2 and not killed:
            killed.append(victim())
            os.kill(killed[0], signal.SIGKILL)

    assert [member.model for member in fit_members(EXAMPLES, SMALL_NET, FIT, SEEDS, kill_one)] == uninterrupted
    assert killed


def victim() -> int:
    """Return the process of a worker that fits a member now."""
    ours = psutil.Process().children(recursive=True)
    return next(process.pid for process in ours if "_fit_task" in " ".join(process.cmdline()))
