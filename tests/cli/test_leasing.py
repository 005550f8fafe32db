"""What a labeller does with leased tasks at the command line, against the real services."""

import json
import stat
from collections.abc import Callable
from dataclasses import astuple
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.labelling import CAR_BOX, GENERATION, Server, label_file
from support.records import START

from quandary import convert
from quandary.v1 import queue_pb2
from quandary_server.auth import Role, issue_token
from quandary_server.clock import now
from quandary_server.datasets.kitti import KittiFolder
from quandary_server.storage.task_values import TaskEntry

Run = Callable[..., tuple[int, str]]


def test_an_export_is_a_folder_that_a_labeller_can_work_on(server: Server, quandary: Run) -> None:
    code, said = quandary("queue", "lease", "-n", "3", "--export", "kitti", "out")
    assert code == 0
    assert "then: quandary queue ack --labels out" in said
    folder = KittiFolder(Path("out"))
    assert [entry.frame_id for entry in folder.frames()] == ["f0", "f1", "f2"]
    (label,) = folder.read("f0").labels.labels
    assert label.class_name == "Car"
    assert astuple(label.box) == pytest.approx(astuple(CAR_BOX), abs=2e-4)
    assert label_file("f0").read_text().split()[-1] == "0.7000"
    assert folder.read("f2").labels.labels == ()
    with server.client() as client:
        record = convert.record(client.get_task("queues/active/tasks/f0").record)
    assert (folder.read("f0").calibration.lidar_to_image == record.calibration.lidar_to_image).all()
    assert folder.read("f0").cloud_path.read_bytes() == Path(urlsplit(record.cloud_uri).path).read_bytes()
    held = json.loads(Path("out/leases.json").read_text())
    assert [task["generation"] for task in held] == [GENERATION, GENERATION, ""]
    assert stat.S_IMODE(Path("out/leases.json").stat().st_mode) == 0o600


def test_the_leases_of_an_export_are_renewed_and_given_back(server: Server, quandary: Run) -> None:
    quandary("queue", "lease", "-n", "2", "--export", "kitti", "out")
    server.time += timedelta(minutes=10)
    code, said = quandary("queue", "renew", "--leased", "out/leases.json", "--minutes", "30")
    until = (server.time + timedelta(minutes=30)).isoformat(sep=" ", timespec="seconds").removesuffix("+00:00")
    assert (code, said) == (0, f"f0 is held until {until} UTC f1 is held until {until} UTC")
    assert server.task("f0").lease.expire_time.ToDatetime().isoformat(sep=" ") == until
    assert {task["expires"] for task in json.loads(Path("out/leases.json").read_text())} == {until.replace(" ", "T") + "Z"}
    server.time += timedelta(minutes=20)
    assert (
        quandary("queue", "ack", "--labels", "out", "--unchanged")[0] == 0
    )  # which the first leases would not have lasted for
    code, said = quandary("queue", "renew", "--leased", "out")
    assert (code, said) == (0, "")  # labels that are in need no lease


def test_leases_are_given_back_one_by_one_or_together_and_what_is_refused_stays_in_the_folder(
    server: Server, quandary: Run
) -> None:
    quandary("queue", "lease", "-n", "3", "--export", "kitti", "out")
    tokens = {task["frame_id"]: task["token"] for task in json.loads(Path("out/leases.json").read_text())}
    assert quandary("queue", "release", "f1", "--lease-token", tokens["f1"]) == (0, "f1 released")
    code, said = quandary("queue", "release", "--leased", "out")
    assert code == 1
    assert said.startswith("f0 released f2 released f1 refused: StaleLease")
    assert [task["frame_id"] for task in json.loads(Path("out/leases.json").read_text())] == ["f1"]
    assert server.task("f2").state == queue_pb2.TASK_STATE_WAITING
    code, said = quandary("queue", "renew", "f1")
    assert (code, "give FRAME with --lease-token, or --leased" in said) == (2, True)


def test_a_frame_of_an_export_is_skipped_by_its_name(server: Server, quandary: Run) -> None:
    quandary("queue", "lease", "-n", "2", "--export", "kitti", "out")
    code, said = quandary("queue", "skip", "f0", "--leased", "out", "--reason", "ambiguous")
    assert (code, said) == (0, "f0 skipped: ambiguous")
    assert [task["frame_id"] for task in json.loads(Path("out/leases.json").read_text())] == ["f1"]
    code, said = quandary("queue", "list", "--state", "skipped")
    assert "f0 drive 0.5000 3 ambiguous" in said
    code, said = quandary("queue", "list", "--state", "leased")
    assert "f1 drive 0.4000 3 admin 2026-01-01 00:15:00" in said


def test_a_task_that_nobody_is_left_for_is_said_to_be_a_dead_letter(
    server: Server, quandary: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    eve = issue_token(server.tokens, "eve", [Role.LABELLER], time=now(), lifetime=None)
    monkeypatch.setenv("QUANDARY_TOKEN", eve.token)
    quandary("queue", "lease", "--export", "kitti", "out")
    code, said = quandary("queue", "skip", "f0", "--leased", "out", "--reason", "ambiguous", "--requeue", "others")
    assert (code, said) == (
        0,
        "f0 skipped: ambiguous; nobody is left who may label it, so that it is a dead letter",
    )


def test_what_was_skipped_for_good_is_put_back(server: Server, quandary: Run) -> None:
    quandary("queue", "lease", "--export", "kitti", "out")
    token = json.loads(Path("out/leases.json").read_text())[0]["token"]
    quandary("queue", "skip", "f0", "--lease-token", token, "--reason", "unreadable")
    assert quandary("queue", "requeue", "f0", "--comment", "the disk is back") == (0, "f0 waits again")
    task = server.task("f0")
    assert (task.state, task.skip_reason) == (queue_pb2.TASK_STATE_WAITING, queue_pb2.SKIP_REASON_UNSPECIFIED)


def test_a_frame_whose_cloud_is_gone_is_given_back(server: Server, quandary: Run) -> None:
    Path(urlsplit(server.task("f0").record.cloud_uri).path).unlink()
    code, said = quandary("queue", "lease", "-n", "2", "--export", "kitti", "out")
    assert code == 1
    assert "f0 cannot be written, and is given back: NotFound: there is no cloud at file:" in said
    assert server.task("f0").state == queue_pb2.TASK_STATE_WAITING
    assert [task["frame_id"] for task in json.loads(Path("out/leases.json").read_text())] == ["f1"]


def test_camera_images_come_along_where_they_can_be_read(server: Server, quandary: Run, tmp_path: Path) -> None:
    image = tmp_path / "camera 1.PNG"
    image.write_bytes(b"\x89PNG")
    entries = []
    for i, uri in enumerate((image.as_uri(), f"{image.as_uri()}.gone", "s3://bucket/a.png")):
        record = server.task("f0").record
        record.frame_id, record.image_uri = f"i{i}", uri
        entries.append(TaskEntry(i + 7, "control", f"i{i}", "seen", START, record.SerializeToString(), 3, shuffle=i))
    server.store.intake.apply(entries, log="log", after=6, position=9, now=START)
    code, said = quandary("queue", "lease", "-n", "3", "--queue", "control", "--export", "kitti", "out")
    assert code == 0
    assert "2 without their camera images, which cannot be read from here: i1, i2" in said
    assert Path("out/training/image_2/i0.png").read_bytes() == b"\x89PNG"


@pytest.mark.parametrize("make", [lambda path: path.touch(), lambda path: (path / "old").mkdir(parents=True)])
def test_nothing_is_leased_for_a_folder_that_is_not_empty(server: Server, quandary: Run, make: Callable[[Path], Any]) -> None:
    make(Path("out"))
    code, said = quandary("queue", "lease", "--export", "kitti", "out")
    assert code == 2
    assert "out is not an empty folder" in said
    assert server.task("f0").state == queue_pb2.TASK_STATE_WAITING


def test_nothing_is_leased_for_a_folder_that_cannot_be_made(server: Server, quandary: Run) -> None:
    code, said = quandary("queue", "lease", "--export", "kitti", "/proc/q/out")
    assert (code, said) == (1, "/proc/q: No such file or directory")
    assert server.task("f0").state == queue_pb2.TASK_STATE_WAITING


def test_pins_bands_and_skips_change_what_is_leased_next(server: Server, quandary: Run) -> None:
    assert quandary("queue", "pin", "f5", "--comment", "crash 12") == (0, "f5 pinned")
    assert quandary("queue", "band", "f4", "safety") == (0, "f4 is in the safety band")
    order = [task["frame_id"] for task in json.loads(quandary("queue", "list", "--json")[1])]
    assert order == ["f5", "f4", "f0", "f1", "f2", "f3"]
    assert quandary("queue", "unpin", "f5") == (0, "f5 unpinned")
    (task,) = json.loads(quandary("queue", "lease", "--json")[1])
    assert task["frame_id"] == "f4"
    skip = ("queue", "skip", "f4", "--lease-token", task["lease"]["token"], "--reason", "ambiguous")
    assert quandary(*skip, "--requeue", "others") == (0, "f4 skipped: ambiguous; it waits for others")
    (task,) = json.loads(quandary("queue", "lease", "--json")[1])
    assert task["frame_id"] == "f0"
