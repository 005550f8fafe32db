"""What labelling ops do at the command line, against the real services."""

import json
import os
import pty
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import astuple
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.labelling import Server, fill
from support.records import START, some_labels

from quandary import Box3D, convert
from quandary.v1 import queue_pb2, scoring_pb2
from quandary_server.cli.queue_watch import age
from quandary_server.datasets.kitti import KittiFolder
from quandary_server.storage.store import Store
from quandary_server.storage.task_values import NewScore, TaskEntry

GENERATION = "g000001-00000000"
CAR_BOX = Box3D(20.0, 1.0, -0.8, 4.0, 1.7, 1.5, 0.1)
CLASSES = ["Car", "Pedestrian", "Background"]

Run = Callable[..., tuple[int, str]]


def frame_score(frame_id: str) -> bytes:
    """Return a doubtful car and a sure background, as scoring would have answered."""
    doubt = scoring_pb2.ClassUncertainty(predictive_entropy_nats=0.8, mutual_information_nats=0.3)
    spread = scoring_pb2.BoxUncertainty(aleatoric_variance=[0.09] * 7, epistemic_variance=[0.16] * 7)
    objects = [
        scoring_pb2.ObjectScore(
            proposal_index=0,
            score=0.9,
            class_probabilities=[0.7, 0.2, 0.1],
            predicted_class="Car",
            box=convert.box3d_message(CAR_BOX),
            class_uncertainty=doubt,
            box_uncertainty=spread,
            points=120,
        ),
        scoring_pb2.ObjectScore(
            proposal_index=1,
            score=0.1,
            class_probabilities=[0.0, 0.1, 0.9],
            predicted_class="Background",
            box=convert.box3d_message(CAR_BOX),
            class_uncertainty=doubt,
            box_uncertainty=spread,
            points=3,
        ),
    ]
    return scoring_pb2.FrameScore(score=0.5, objects=objects, class_names=CLASSES).SerializeToString()


@pytest.fixture
def server(tmp_path: Path, make_frame: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The services, to which the command line finds its way; f0 and f1 are scored and ranked, f2 to f5 wait unscored."""
    with Store.open(tmp_path / "store.db") as store:
        fill(store, tmp_path / "clouds", make_frame)
        scores = [NewScore(name, score, frame_score(name)) for name, score in (("f0", 0.5), ("f1", 0.4))]
        store.ranking.rescore("active", scores, generation=GENERATION, now=START)
        store.ranking.write_ranks("active", ["f0", "f1"], now=START)
        running = Server(store, tmp_path / "tokens.json")
        monkeypatch.setenv("QUANDARY_SELECTOR__PORT", running.target.rpartition(":")[2])
        monkeypatch.setenv("QUANDARY_TOKEN", running.token)
        yield running
        running.stop()


def leased(server: Server, name: str) -> queue_pb2.Task:
    with server.client() as client:
        return client.get_task(f"queues/active/tasks/{name}")


def label_file(name: str, folder: str = "out") -> Path:
    return Path(folder, "training", "label_2", f"{name}.txt")


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


def test_labels_of_an_export_are_handed_in_and_prelabels_that_nobody_changed_are_not(server: Server, quandary: Run) -> None:
    quandary("queue", "lease", "-n", "3", "--export", "kitti", "out")
    line = label_file("f0").read_text()
    label_file("f0").write_text(line.replace("Car", "Van").rsplit(" ", 1)[0] + "\n")
    code, said = quandary("queue", "ack", "--labels", "out", "--seconds", "40")
    assert code == 1
    assert said == (
        "f0 acknowledged, 1 labels 2 left out, since nobody changed their pre-labels (if they are right: --unchanged): f1, f2"
    )
    code, said = quandary("queue", "ack", "--labels", "out", "--unchanged")
    assert code == 1  # f0 was acknowledged with other seconds: that is no repetition
    assert "f0 refused: WrongState" in said
    assert "f1 acknowledged, 1 labels f2 acknowledged, 0 labels" in said
    with server.client() as client:
        first, second, third = client.list_frame_labels()
    assert ([label.class_name for label in first.labels], first.time_spent.seconds) == (["Van"], 40)
    assert [f.prelabel_generation for f in (first, second, third)] == [GENERATION, GENERATION, ""]


def test_the_same_labels_may_be_handed_in_again(server: Server, quandary: Run) -> None:
    quandary("queue", "lease", "--export", "kitti", "out")
    for _ in range(2):
        assert quandary("queue", "ack", "--labels", "out", "--unchanged") == (0, "f0 acknowledged, 1 labels")


def test_the_labels_of_an_export_may_lie_in_another_folder(server: Server, quandary: Run) -> None:
    quandary("queue", "lease", "--export", "kitti", "out")
    shutil.copytree("out", "truth", ignore=shutil.ignore_patterns("leases.json"))
    label_file("f0", "truth").write_text("")
    code, said = quandary("queue", "ack", "--leased", "out/leases.json", "--labels", "truth")
    assert (code, said) == (0, "f0 acknowledged, 0 labels")


def test_a_label_file_that_cannot_be_read_holds_all_of_them_back(server: Server, quandary: Run) -> None:
    quandary("queue", "lease", "-n", "2", "--export", "kitti", "out")
    label_file("f1").write_text("Car 0 0\n")
    code, said = quandary("queue", "ack", "--labels", "out", "--unchanged")
    assert code == 2
    assert said == "InvalidArgument: label_2/f1.txt:1 is 3 columns, must be 15 columns, or one more with a score"
    assert leased(server, "f0").state == queue_pb2.TASK_STATE_LEASED


def test_labels_that_are_refused_cost_the_other_frames_nothing(server: Server, quandary: Run) -> None:
    quandary("queue", "lease", "-n", "2", "--export", "kitti", "out")
    label_file("f0").write_text(label_file("f0").read_text() * 2)
    code, said = quandary("queue", "ack", "--labels", "out", "--unchanged")
    assert code == 1
    assert said.startswith("f1 acknowledged, 1 labels f0 refused: InvalidArgument: labels.labels[1].box is 1.00 of labels[0]'s")


def test_the_leases_of_an_export_are_renewed_and_given_back(server: Server, quandary: Run) -> None:
    quandary("queue", "lease", "-n", "2", "--export", "kitti", "out")
    server.time += timedelta(minutes=10)
    code, said = quandary("queue", "renew", "--leased", "out/leases.json", "--minutes", "30")
    until = (server.time + timedelta(minutes=30)).isoformat(sep=" ", timespec="seconds").removesuffix("+00:00")
    assert (code, said) == (0, f"f0 is held until {until} UTC f1 is held until {until} UTC")
    assert leased(server, "f0").lease.expire_time.ToDatetime().isoformat(sep=" ") == until
    assert {task["expires"] for task in json.loads(Path("out/leases.json").read_text())} == {until.replace(" ", "T") + "Z"}
    server.time += timedelta(minutes=20)
    assert (
        quandary("queue", "ack", "--labels", "out", "--unchanged")[0] == 0
    )  # which the first leases would not have lasted for
    code, said = quandary("queue", "renew", "--leased", "out")
    assert (code, said.count("refused: WrongState: renew: the task is acknowledged")) == (1, 2)


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
    assert leased(server, "f2").state == queue_pb2.TASK_STATE_WAITING
    code, said = quandary("queue", "renew", "f1")
    assert (code, "give FRAME with --lease-token, or --leased" in said) == (2, True)


def test_labels_that_came_meanwhile_refuse_those_of_an_export_and_say_whose_they_are(server: Server, quandary: Run) -> None:
    quandary("queue", "lease", "--export", "kitti", "out")
    server.store.labels.submit([some_labels("f0")], labeller="eve", now=server.time)
    code, said = quandary("queue", "ack", "--labels", "out", "--unchanged")
    assert code == 1
    assert "f0 refused: StaleLease" in said
    assert "eve labelled f0 at" in said
    assert "to replace those labels, submit yours" in said


def test_what_was_skipped_for_good_is_put_back(server: Server, quandary: Run) -> None:
    quandary("queue", "lease", "--export", "kitti", "out")
    token = json.loads(Path("out/leases.json").read_text())[0]["token"]
    quandary("queue", "skip", "f0", "--lease-token", token, "--reason", "unreadable")
    assert quandary("queue", "requeue", "f0", "--comment", "the disk is back") == (0, "f0 waits again")
    task = leased(server, "f0")
    assert (task.state, task.skip_reason) == (queue_pb2.TASK_STATE_WAITING, queue_pb2.SKIP_REASON_UNSPECIFIED)


def test_a_frame_whose_cloud_is_gone_is_given_back(server: Server, quandary: Run) -> None:
    Path(urlsplit(leased(server, "f0").record.cloud_uri).path).unlink()
    code, said = quandary("queue", "lease", "-n", "2", "--export", "kitti", "out")
    assert code == 1
    assert "f0 cannot be written, and is given back: NotFound: there is no cloud at file:" in said
    assert leased(server, "f0").state == queue_pb2.TASK_STATE_WAITING
    assert [task["frame_id"] for task in json.loads(Path("out/leases.json").read_text())] == ["f1"]


@pytest.mark.parametrize("make", [lambda path: path.touch(), lambda path: (path / "old").mkdir(parents=True)])
def test_nothing_is_leased_for_a_folder_that_is_not_empty(server: Server, quandary: Run, make: Callable[[Path], Any]) -> None:
    make(Path("out"))
    code, said = quandary("queue", "lease", "--export", "kitti", "out")
    assert code == 2
    assert "out is not an empty folder" in said
    assert leased(server, "f0").state == queue_pb2.TASK_STATE_WAITING


def test_nothing_is_leased_for_a_folder_that_cannot_be_made(server: Server, quandary: Run) -> None:
    code, said = quandary("queue", "lease", "--export", "kitti", "/proc/q/out")
    assert (code, said) == (1, "/proc/q: No such file or directory")
    assert leased(server, "f0").state == queue_pb2.TASK_STATE_WAITING


def test_without_tokens_ack_says_what_it_needs(server: Server, quandary: Run) -> None:
    Path("labels").mkdir()
    code, said = quandary("queue", "ack", "--labels", "labels")
    assert code == 2
    assert "leases.json" in said


def test_an_import_that_is_refused_tells_what_came_before_it(
    server: Server, quandary: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server.client() as client:
        client.submit_labels([some_labels("f1"), some_labels("f3")])
    quandary("labels", "export", "first")
    twice = Path("first", "training", "label_2", "f3.txt")
    twice.write_text(twice.read_text() * 2)
    monkeypatch.setattr("quandary_server.cli.labels.BATCH", 1)
    code, said = quandary("labels", "import", "first", "--frame", "f1", "--frame", "f3")
    assert code == 2
    assert said.startswith("1 frames stored, 0 had these labels already InvalidArgument frames[0].labels[")


def test_labels_that_are_exported_and_imported_are_unchanged(server: Server, quandary: Run) -> None:
    with server.client() as client:
        client.submit_labels([some_labels("f1"), some_labels("f3")])
    assert quandary("labels", "export", "first") == (0, "2 labelled frames in first")
    code, said = quandary("labels", "import", "first")
    assert code == 0
    assert quandary("labels", "export", "second", "--clouds")[0] == 0
    assert quandary("labels", "import", "second") == (0, "0 frames stored, 2 had these labels already")
    for kind in ("label_2", "calib"):
        for file in Path("first", "training", kind).iterdir():
            assert file.read_text() == Path("second", "training", kind, file.name).read_text()
    rows = Path("first/provenance.csv").read_text().splitlines()
    assert rows[1] == "f1,drive,admin,2026-01-01T00:00:00Z,,0,2"
    entries = KittiFolder(Path("second")).frames()
    assert [(e.frame_id, e.drive_id, e.raw_frame, e.points, e.split) for e in entries] == [
        ("f1", "drive", 0, 2000, "pool"),
        ("f3", "drive", 20, 2000, "pool"),
    ]
    code, said = quandary("labels", "export", "first")
    assert (code, "first is not empty" in said) == (2, True)


def test_the_list_of_labels_tells_where_they_come_from(server: Server, quandary: Run) -> None:
    quandary("queue", "lease", "--export", "kitti", "out")
    quandary("queue", "ack", "--labels", "out", "--unchanged", "--seconds", "95.5")
    (listed,) = json.loads(quandary("labels", "list", "--json")[1])
    told = {name: listed[name] for name in ("labeller", "label_time", "time_spent", "prelabel_generation")}
    assert told == {
        "labeller": "admin",
        "label_time": "2026-01-01T00:00:00Z",
        "time_spent": "95.500s",
        "prelabel_generation": GENERATION,
    }
    code, said = quandary("labels", "list")
    assert code == 0
    assert said.endswith(f"f0 drive active Car admin 2026-01-01 00:00:00 {GENERATION} 95.5")


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


def test_the_audit_tells_who_put_a_task_where_and_why(server: Server, quandary: Run) -> None:
    quandary("queue", "band", "f4", "safety", "--comment", "crash 12")
    quandary("queue", "lease")
    code, said = quandary("queue", "audit", "f4")
    assert code == 0
    assert "2026-01-01 00:00:00 admin band active/f4 band active_learning, comment crash 12, to safety" in said
    assert said.endswith("admin lease active/f4 band safety, expires 2026-01-01T00:15:00+00:00")
    assert [event["action"] for event in json.loads(quandary("queue", "audit", "-n", "1", "--json")[1])] == ["band"]


def test_why_does_not_place_a_folded_task_among_those_that_are_leased(server: Server, quandary: Run) -> None:
    server.store.ranking.rescore("active", [NewScore("f3", 0.5, b"")], generation="g000001-00000000", now=START)
    server.store.ranking.write_ranks("active", ["f4"], folded={"f3": "f4"}, now=START)
    code, said = quandary("queue", "why", "f3")
    assert code == 0
    assert said.startswith("A near copy of f4, folded under it: not leased now.")
    assert "it comes behind those picked" not in said


def test_the_audit_of_a_task_that_there_is_not_is_refused(server: Server, quandary: Run) -> None:
    assert quandary("queue", "audit", "f3") == (0, "nothing happened yet")
    assert quandary("queue", "audit", "f33") == (1, "NotFound: there is no task f33 in queue active")


def test_a_look_tells_queues_holders_and_what_comes_next(server: Server, quandary: Run) -> None:
    quandary("queue", "lease", "-n", "2")
    code, said = quandary("queue", "watch", "--once", "--head", "2")
    assert code == 0
    queues, holders, head = said.replace("Who holds what", "|").replace(" Next ", "|").split("|")
    assert "active 4 0 2 0 0 0" in queues
    assert "admin active 2" in holders
    assert holders.rstrip().endswith("f0, f1")
    assert "active 1 f2 drive - - No generation has scored it yet" in head
    assert "f4" not in head
    found = json.loads(quandary("queue", "watch", "--json", "--head", "1")[1])
    assert [task["frame_id"] for task in found["head"]] == ["f2"]
    assert [task["lease"]["holder"] for task in found["leased"]] == ["admin", "admin"]


def test_queues_of_the_settings_are_counted_watched_and_leased_by_name(server: Server, quandary: Run) -> None:
    server.store.intake.declare(["night"])
    entry = TaskEntry(7, "night", "n0", "dark", START, server.store.tasks.get("active", "f0", now=START).record, 3, shuffle=0)
    server.store.intake.apply([entry], log="log", after=6, position=7, now=START)
    counts = json.loads(quandary("queue", "stats", "--json")[1])
    assert [queue["name"] for queue in counts] == ["queues/active", "queues/control", "queues/night"]
    assert [queue["name"] for queue in json.loads(quandary("queue", "stats", "--queue", "night", "--json")[1])] == [
        "queues/night"
    ]
    found = json.loads(quandary("queue", "watch", "--queue", "night", "--queue", "control", "--json")[1])
    assert [queue["name"] for queue in found["queues"]] == ["queues/night", "queues/control"]
    assert [task["frame_id"] for task in found["head"]] == ["n0"]
    assert [task["frame_id"] for task in json.loads(quandary("queue", "lease", "--queue", "night", "--json")[1])] == ["n0"]
    assert quandary("queue", "lease", "--queue", "night") == (0, "the queue night is empty")
    for command in ("stats", "watch", "lease"):
        assert quandary("queue", command, "--queue", "nihgt") == (1, "NotFound: there is no queue nihgt")


@pytest.mark.parametrize(
    ("seconds", "told"), [(-3, "0 s"), (59, "59 s"), (61, "1 min 01 s"), (7_320, "2 h 02 min"), (180_000, "2 d 2 h")]
)
def test_ages_have_their_two_largest_units(seconds: int, told: str) -> None:
    assert age(timedelta(seconds=seconds)) == told


def test_ctrl_c_ends_a_watch_in_order_and_leaves_the_last_look(server: Server, tmp_path: Path) -> None:
    mine, its = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    command = [sys.executable, "-m", "quandary_server.cli", "queue", "watch", "--interval", "0.2"]
    process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environment)
    os.close(its)
    said = b""
    try:
        while b"Ctrl-C ends" not in said:
            said += os.read(mine, 65_536)
        process.send_signal(signal.SIGINT)
        said = b""
        while chunk := _read(mine):
            said += chunk
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(mine)
    assert b"Who holds what" in said
    assert b"Traceback" not in said


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except OSError:  # Linux says so of a terminal that nobody writes to any more
        return b""


def test_why_is_told_in_words_and_drawn(server: Server, quandary: Run) -> None:
    code, said = quandary("queue", "why", "f0", "--png", "why.png")
    assert code == 0
    assert "The last query picked it as number 1 of those that waited then." in said
    assert "Of 2 proposals the detector takes 1 for objects and 1 for background; a label costs all 3 crops." in said
    assert "It is least sure where object 0 is: its centre is known to 0.7 m." in said
    assert Path("why.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    code, said = quandary("queue", "why", "f3", "--png", "unscored.png")
    assert code == 0
    assert "no object was scored" in said
    assert Path("unscored.png").stat().st_size > 10_000
    code, said = quandary("queue", "why", "f3", "--png", "missing/why.png")
    assert (code, "cannot be written" in said) == (2, True)
