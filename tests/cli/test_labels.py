"""Labels brought in, listed and taken out at the command line, against the real services."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from support.labelling import GENERATION, Server, label_file
from support.records import some_labels

from quandary_server.datasets.kitti import KittiFolder

Run = Callable[..., tuple[int, str]]


def test_an_import_that_is_refused_tells_what_was_stored_all_the_same(server: Server, quandary: Run) -> None:
    with server.client() as client:
        client.submit_labels([some_labels("f1"), some_labels("f3")])
    quandary("labels", "export", "first")
    twice = Path("first", "training", "label_2", "f3.txt")
    twice.write_text(twice.read_text() * 2)
    (label_file("f1", "first")).write_text("")
    code, said = quandary("labels", "import", "first")
    assert code == 1
    assert said.startswith("f3 refused: InvalidArgument label_2/f3.txt:3.box is 1.00 of label_2/f3.txt:1's")
    assert said.endswith("1 frames stored, 1 of them in place of other labels; 0 had these labels already")


def test_labels_made_elsewhere_need_no_clouds_and_are_refused_one_by_one(server: Server, quandary: Run) -> None:
    quandary("queue", "lease", "-n", "3", "--export", "kitti", "out")
    shutil.rmtree("out/training/velodyne")
    Path("out/leases.json").unlink()
    far = "Car 0 0 0 100 150 200 220 1.5 1.7 4.0 -1.0 1.6 400.0 -1.57"
    label_file("f1").write_text(f"DontCare -1 -1 -10 1 1 9 9 -1 -1 -1 -1000 -1000 -1000 -10\n{far}\n")
    shutil.copy(label_file("f0"), label_file("g9"))
    shutil.copy("out/training/calib/f0.txt", "out/training/calib/g9.txt")
    code, said = quandary("labels", "import", "out")
    assert code == 1
    assert said.startswith(
        "f1 refused: InvalidArgument: label_2/f1.txt:2.box.x_m is 399.7, must be so that the box reaches into"
    )
    assert said.endswith("1 refused, which the fleet log never brought: g9 2 frames stored; 0 had these labels already")


def test_an_import_of_an_export_keeps_whose_boxes_were_shown_and_how_long_it_took(server: Server, quandary: Run) -> None:
    quandary("queue", "lease", "--export", "kitti", "out")
    quandary("queue", "ack", "--labels", "out", "--unchanged", "--seconds", "1234.5678")
    quandary("labels", "export", "first")
    label_file("f0", "first").write_text("")
    assert quandary("labels", "import", "first")[0] == 0
    (listed,) = json.loads(quandary("labels", "list", "--json")[1])
    assert (listed["time_spent"], listed["prelabel_generation"]) == ("1234.567800s", GENERATION)
    Path("first/provenance.csv").write_text(Path("first/provenance.csv").read_text().replace("1234.5678", "1e300"))
    code, said = quandary("labels", "import", "first")
    assert (code, said) == (2, "InvalidArgument: provenance.csv:2.seconds_spent is 1e300, must be 0 to 315360000")


def test_labels_that_are_exported_and_imported_are_unchanged(server: Server, quandary: Run) -> None:
    with server.client() as client:
        client.submit_labels([some_labels("f1"), some_labels("f3")])
    assert quandary("labels", "export", "first") == (0, "2 labelled frames in first")
    code, said = quandary("labels", "import", "first")
    assert code == 0
    assert quandary("labels", "export", "second", "--clouds")[0] == 0
    assert quandary("labels", "import", "second") == (0, "0 frames stored; 2 had these labels already")
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
    assert said.endswith(f"f0 drive training Car admin 2026-01-01 00:00:00 {GENERATION} 95.5")
