"""Why a task is asked for, in words and as a picture."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from support.labelling import GENERATION, Server
from support.records import START

from quandary_server.cli import birds_eye
from quandary_server.storage.task_values import NewScore

Run = Callable[..., tuple[int, str]]


def test_why_does_not_place_a_folded_task_among_those_that_are_leased(server: Server, quandary: Run) -> None:
    server.store.ranking.rescore("active", [NewScore("f3", 0.5, b"")], generation="g000001-00000000", now=START)
    server.store.ranking.write_ranks("active", ["f4"], folded={"f3": "f4"}, now=START)
    code, said = quandary("queue", "why", "f3")
    assert code == 0
    assert said.startswith("A near copy of f4, folded under it: not leased now.")
    assert "it comes behind those picked" not in said


def test_why_is_told_in_words_and_drawn(server: Server, quandary: Run) -> None:
    code, said = quandary("queue", "why", "f0", "--png", "why.png")
    assert code == 0
    assert "The last query picked it as number 1 of those that waited then." in said
    assert "Of 2 proposals the detector takes 1 for objects and 1 for background; a label costs all 3 crops." in said
    assert "It is least sure where object 0 is: its centre is known to 0.7 m." in said
    assert "0.80 nats of class entropy, 0.30 of them disagreement, its centre known to 0.7 m." in said
    assert "0 Car 70% 0.900 0.800 0.300 0.71 0.57 120 20.0, 1.0, -0.8; 4.0 x 1.7 x 1.5; +0.10 rad" in said
    assert Path("why.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    code, said = quandary("queue", "why", "f3", "--png", "unscored.png")
    assert code == 0
    assert "no object was scored" in said
    assert Path("unscored.png").stat().st_size > 10_000
    code, said = quandary("queue", "why", "f3", "--png", "missing/why.png")
    assert (code, "cannot be written" in said) == (2, True)


def test_why_tells_who_has_a_task_and_for_whom_it_stands_in(server: Server, quandary: Run) -> None:
    server.store.ranking.rescore("active", [NewScore("f3", 0.5, b"")], generation=GENERATION, now=START)
    server.store.ranking.write_ranks("active", ["f0"], folded={"f1": "f0", "f3": "f0"}, now=START)
    said = quandary("queue", "why", "f0")[1]
    assert "2 near copies along the drive are folded under it: f1, f3." in said
    quandary("queue", "lease", "--export", "kitti", "out")
    assert "admin has it until 2026-01-01 00:15:00 UTC." in quandary("queue", "why", "f0")[1]
    quandary("queue", "skip", "f0", "--leased", "out", "--reason", "unreadable")
    assert "It was skipped for good (unreadable), and is not asked for any more." in quandary("queue", "why", "f0")[1]
    said = quandary("queue", "why", "f3")[1]
    assert "It stands in for f0, a near copy that ended without labels: the last query picked that one, as number 1" in said
    assert "1 near copy along the drive is folded under it: f1." in said
    assert "The last query picked it" not in said


def test_why_is_told_in_words_where_the_cloud_is_gone(server: Server, quandary: Run) -> None:
    Path(urlsplit(server.task("f0").record.cloud_uri).path).unlink()
    code, said = quandary("queue", "why", "f0", "--png", "why.png")
    assert code == 1
    assert "number 1 of those that waited then." in said
    assert said.split("NotFound: ")[1].startswith("there is no cloud at file:")


@pytest.mark.parametrize("objects", [0, 30])
def test_however_much_there_is_to_say_the_words_of_the_picture_lie_apart(
    server: Server, objects: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: figures.append(self))
    task = server.task("f0")
    found = list(task.frame_score.objects)
    del task.frame_score.objects[:]
    task.frame_score.objects.extend(found[i % 2] for i in range(objects))
    for i, each in enumerate(task.frame_score.objects):
        each.box.x_m = 5.0 + 2.0 * i
    task.frame_id, task.drive_id, task.nearest_labelled_frame = "f" * 128, "d" * 128, "n" * 128
    task.siblings.extend("s" * 127 + str(i) for i in range(6))
    birds_eye.draw(tmp_path / "why.png", task, np.zeros((3, 4), np.float32))
    (figure,) = figures
    picture, words = figure.axes[:2]
    boxes = [text.get_window_extent() for text in words.texts]
    assert len(boxes) == 4
    for above, below in pairwise(boxes):
        assert above.y0 >= below.y1
    assert picture.get_title(loc="left").count("\n") >= 3
