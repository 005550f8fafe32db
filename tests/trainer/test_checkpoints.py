"""Checkpoints of members: the newest that is whole counts, of this very fit alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.examples import SMALL_FIT, SMALL_NET, random_examples

from quandary_server.trainer.checkpoints import Checkpoint, Checkpoints, examples_digest, fit_digest


@pytest.fixture
def kept(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "run")


def at(step: int) -> Checkpoint:
    return Checkpoint(step, loss=1 / step, body=b"state\n" * step)


def test_the_newest_is_read_back_by_member_and_fit(kept: Checkpoints, tmp_path: Path) -> None:
    assert kept.newest(0, "fit") is None
    for step in (5, 10, 15):
        kept.write(0, "fit", at(step))
    kept.write(1, "fit", replace(at(3), finished=True, parity=1e-6))
    again = Checkpoints(tmp_path / "run")
    assert again.newest(0, "fit") == at(15)
    assert again.newest(1, "fit") == replace(at(3), finished=True, parity=1e-6)
    assert again.newest(0, "another fit") is None
    assert again.newest(2, "fit") is None


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:0], lambda data: data + b"x"])
def test_a_torn_one_is_passed_over_for_the_one_before(kept: Checkpoints, tmp_path: Path, damage: object) -> None:
    kept.write(0, "fit", at(5))
    kept.write(0, "fit", at(10))
    newest = max((tmp_path / "run").iterdir(), key=lambda path: path.stat().st_size)
    newest.write_bytes(damage(newest.read_bytes()))  # type: ignore[operator]
    again = Checkpoints(tmp_path / "run")
    assert again.newest(0, "fit") == at(5)
    again.write(0, "fit", at(11))
    # over the torn one, not over the whole one
    assert Checkpoints(tmp_path / "run").newest(0, "fit") == at(11)
    assert len(list((tmp_path / "run").iterdir())) == 2


def test_removed_they_are_gone(kept: Checkpoints, tmp_path: Path) -> None:
    kept.write(0, "fit", at(5))
    kept.remove()
    assert not (tmp_path / "run").exists()
    kept.remove()


def test_without_room_for_them_there_are_none_and_nothing_is_raised(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file, where the folder should be")
    kept = Checkpoints(tmp_path / "run")
    kept.write(0, "fit", at(5))
    assert kept.newest(0, "fit") is None
    (tmp_path / "run").unlink()
    kept.write(0, "fit", at(10))
    assert kept.newest(0, "fit") == at(10)


def test_a_fit_is_told_by_all_that_it_follows_from() -> None:
    examples = random_examples(6)
    seen, other = (examples_digest(replace(examples, boxes=examples.boxes + np.float32(more))) for more in (0, 1))
    digests = {
        fit_digest(seen, SMALL_NET, SMALL_FIT, 1),
        fit_digest(other, SMALL_NET, SMALL_FIT, 1),
        fit_digest(seen, SMALL_NET.model_copy(update={"hidden": 8}), SMALL_FIT, 1),
        fit_digest(seen, SMALL_NET, SMALL_FIT.model_copy(update={"steps": 12}), 1),
        fit_digest(seen, SMALL_NET, SMALL_FIT, 2),
        fit_digest(seen, SMALL_NET, SMALL_FIT, 1, b"start"),
    }
    assert len(digests) == 6
    assert fit_digest(examples_digest(examples), SMALL_NET, SMALL_FIT, 1) in digests
