"""Labels handed in at the command line, against the real services."""

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from support.labelling import GENERATION, Server, label_file
from support.records import some_labels

from quandary.v1 import queue_pb2
from quandary_server.leasing.events import Action

Run = Callable[..., tuple[int, str]]


def test_labels_of_an_export_are_handed_in_and_prelabels_that_nobody_changed_are_not(server: Server, quandary: Run) -> None:
    quandary("queue", "lease", "-n", "3", "--export", "kitti", "out")
    line = label_file("f0").read_text()
    label_file("f0").write_text(line.replace("Car", "Van").rsplit(" ", 1)[0] + "\n")
    code, said = quandary("queue", "ack", "--labels", "out", "--seconds", "40")
    assert code == 1
    assert said == (
        "f0 acknowledged, 1 labels 2 left out, since nobody changed their pre-labels (if they are right: --unchanged): f1, f2"
    )
    code, said = quandary("queue", "ack", "--labels", "out", "--unchanged", "--seconds", "50")
    assert (code, said) == (0, "f1 acknowledged, 1 labels f2 acknowledged, 0 labels 1 handed in before: f0")
    with server.client() as client:
        first, second, third = client.list_frame_labels()
    assert ([label.class_name for label in first.labels], first.time_spent.seconds) == (["Van"], 40)
    assert second.time_spent.seconds == 50
    assert [f.prelabel_generation for f in (first, second, third)] == [GENERATION, GENERATION, ""]


def test_the_same_labels_may_be_handed_in_again(server: Server, quandary: Run) -> None:
    quandary("queue", "lease", "--export", "kitti", "out")
    shutil.copy("out/leases.json", "kept.json")
    for _ in range(2):
        assert quandary("queue", "ack", "--labels", "out", "--leased", "kept.json", "--unchanged") == (
            0,
            "f0 acknowledged, 1 labels",
        )
    assert quandary("queue", "ack", "--labels", "out", "--unchanged")[0] == 0
    assert quandary("queue", "ack", "--labels", "out") == (0, "1 handed in before: f0")


def test_what_was_handed_in_and_then_changed_is_refused_and_goes_in_by_an_import(server: Server, quandary: Run) -> None:
    quandary("queue", "lease", "--export", "kitti", "out")
    quandary("queue", "ack", "--labels", "out", "--unchanged", "--seconds", "40")
    label_file("f0").write_text("")
    code, said = quandary("queue", "ack", "--labels", "out")
    assert code == 1
    assert "f0 refused: WrongState: acknowledge: the task was acknowledged with other labels" in said
    assert said.endswith("go in by: quandary labels import out --frame f0")
    assert quandary("labels", "import", "out", "--frame", "f0") == (
        0,
        "1 frames stored, 1 of them in place of other labels; 0 had these labels already",
    )
    (event,) = [e for e in server.store.audit.list(task=("active", "f0")).items if e.action is Action.IMPORT]
    assert event.details["replaced_labels_of"] == "admin"
    (frame,) = server.store.labels.list().items
    assert (frame.labels.labels, frame.labels.prelabel_generation) == ((), GENERATION)


def test_labels_that_come_when_their_lease_ran_out_are_not_lost(server: Server, quandary: Run) -> None:
    quandary("queue", "lease", "-n", "2", "--export", "kitti", "out")
    label_file("f0").write_text("")
    server.time += timedelta(minutes=15)
    code, said = quandary("queue", "ack", "--labels", "out")
    assert code == 1
    assert "f0 refused: StaleLease: the lease ran out at 2026-01-01 00:15:00 UTC; the lease token does not hold" in said
    assert "go in by: quandary labels import out --frame f0" in said
    code, said = quandary("labels", "import", "out")  # of all of them: pre-labels are nobody's labels
    assert (code, said) == (
        1,
        "1 left out, since nobody changed their pre-labels (if they are right: --unchanged): f1 "
        "1 frames stored; 0 had these labels already",
    )
    (frame,) = server.store.labels.list().items
    assert (frame.frame_id, frame.labels.prelabel_generation) == ("f0", GENERATION)


def test_the_labels_of_an_export_may_lie_in_another_folder(server: Server, quandary: Run) -> None:
    quandary("queue", "lease", "--export", "kitti", "out")
    shutil.copytree("out", "truth", ignore=shutil.ignore_patterns("leases.json"))
    label_file("f0", "truth").write_text("")
    code, said = quandary("queue", "ack", "--leased", "out/leases.json", "--labels", "truth")
    assert (code, said) == (0, "f0 acknowledged, 0 labels")


CAR = "Car 0 0 0 100 150 200 220 1.5 1.7 4.0 -1.0 1.6 20.0 -1.57"


def test_files_that_are_refused_are_named_with_their_lines_and_cost_the_others_nothing(server: Server, quandary: Run) -> None:
    quandary("queue", "lease", "-n", "6", "--export", "kitti", "out")
    label_file("f0").write_text(f"{CAR}\n{CAR}\n")
    label_file("f1").write_text(CAR.replace("4.0", "13.1"))
    label_file("f2").write_text(f"\n{CAR.replace('20.0', '400')}")
    label_file("f3").write_bytes(CAR.encode("utf-16"))
    label_file("f4").unlink()
    label_file("f5").write_bytes(f"\ufeff{CAR}\r\n\r\n".encode())  # as a Windows editor writes it
    code, said = quandary("queue", "ack", "--labels", "out")
    assert code == 1
    assert said.startswith("f5 acknowledged, 1 labels f0 refused: ")
    assert said.endswith(" 1 without a label file: f4")
    for told in (
        "label_2/f0.txt:2.box is 1.00 of label_2/f0.txt:1's, must be below 0.7 in IoU: no object twice",
        "label_2/f1.txt:1.box.length_m is 13.1, must be in [1.5, 8] m for a Car",
        "label_2/f2.txt:2.box.x_m is 399.7, must be so that the box reaches into [-5.0, 70.0] m ahead of the LiDAR",
        "label_2/f3.txt is UTF-16, must be UTF-8 text",
    ):
        assert told in said
    assert {server.task(f"f{i}").state for i in range(5)} == {queue_pb2.TASK_STATE_LEASED}


def test_every_wrong_line_of_every_file_is_told_at_once(server: Server, quandary: Run) -> None:
    quandary("queue", "lease", "-n", "2", "--export", "kitti", "out")
    for name in ("f0", "f1"):
        label_file(name).write_text(f"{CAR.replace('Car', 'Bus')}\nCar 0 0\n")
    _, said = quandary("queue", "ack", "--labels", "out")
    for name in ("f0", "f1"):
        assert f"{name} refused: InvalidArgument label_2/{name}.txt:1 is 'Bus', must be one of" in said
        assert f"label_2/{name}.txt:2 is 3 columns, must be 15 columns" in said


def test_files_of_no_leased_task_are_named(server: Server, quandary: Run) -> None:
    quandary("queue", "lease", "--export", "kitti", "out")
    label_file("f0").rename(label_file("f0 (copy)"))
    code, said = quandary("queue", "ack", "--labels", "out")
    assert (code, said) == (
        1,
        "1 without a label file: f0 1 files in label_2 are of no task that is leased here: f0 (copy).txt",
    )


def test_one_frame_of_a_folder_can_be_handed_in_alone(server: Server, quandary: Run) -> None:
    quandary("queue", "lease", "-n", "2", "--export", "kitti", "out")
    assert quandary("queue", "ack", "f1", "--labels", "out", "--unchanged") == (0, "f1 acknowledged, 1 labels")
    assert server.task("f0").state == queue_pb2.TASK_STATE_LEASED
    code, said = quandary("queue", "ack", "f9", "--labels", "out")
    assert (code, "f9 is not in out/leases.json" in said) == (2, True)


def test_labels_that_came_meanwhile_refuse_those_of_an_export_and_say_whose_they_are(server: Server, quandary: Run) -> None:
    quandary("queue", "lease", "--export", "kitti", "out")
    server.store.labels.submit([some_labels("f0")], labeller="eve", now=server.time)
    code, said = quandary("queue", "ack", "--labels", "out", "--unchanged")
    assert code == 1
    assert "f0 refused: StaleLease" in said
    assert "eve labelled f0 at" in said
    assert "to replace those labels, submit yours" in said


def test_without_tokens_ack_says_what_it_needs(server: Server, quandary: Run) -> None:
    Path("labels").mkdir()
    code, said = quandary("queue", "ack", "--labels", "labels")
    assert code == 2
    assert "there is no leases.json in labels: give --leased, or FRAME with --lease-token" in said
