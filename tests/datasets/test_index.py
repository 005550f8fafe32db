from pathlib import Path

import pytest

from quandary.errors import InvalidArgument
from quandary.records import EgoPose
from quandary_server.datasets.index import FrameEntry, parse_index, read_index, write_index

HEADER = "id,drive,raw_frame,points,label_source,split"
ROW = "000001,drive_a,7,20000,object,pool"


def test_frames_come_in_drive_order() -> None:
    rows = ["3,b,2,1,object,pool", "1,b,10,1,object,control", "2,a,5,1,tracking,evaluation"]
    entries = parse_index("frames.csv", [HEADER, *rows])
    assert [entry.frame_id for entry in entries] == ["2", "3", "1"]
    assert entries[0] == FrameEntry("2", "a", 5, 1, "tracking", "evaluation")


def test_columns_may_stand_in_any_order_and_others_among_them() -> None:
    entries = parse_index("frames.csv", ["split,weather,points,id,drive,raw_frame,label_source", "pool,rain,9,x,d,3,object"])
    assert entries == [FrameEntry("x", "d", 3, 9, "object", "pool")]


@pytest.mark.parametrize("pose", [None, EgoPose(1.5, -2.25, 0.125, 0.6, 0.0, 0.0, 0.8)])
def test_what_is_written_is_read_back(tmp_path: Path, pose: EgoPose | None) -> None:
    entries = [
        FrameEntry("000001", "a", 0, 12, "simulated", "pool", pose),
        FrameEntry("000002", "a", 1, 13, "simulated", "control", pose),
    ]
    write_index(tmp_path, entries)
    assert read_index(tmp_path) == entries


def test_poses_are_written_only_if_all_frames_have_one(tmp_path: Path) -> None:
    write_index(tmp_path, [FrameEntry("1", "a", 0, 1, ego_pose=EgoPose(0, 0, 0, 1, 0, 0, 0)), FrameEntry("2", "a", 1, 1)])
    assert (tmp_path / "frames.csv").read_text().splitlines()[0] == HEADER


def test_without_an_index_every_cloud_is_its_own_drive_in_the_pool(tmp_path: Path) -> None:
    velodyne = tmp_path / "training" / "velodyne"
    velodyne.mkdir(parents=True)
    for frame_id in ("000005", "000002"):
        (velodyne / f"{frame_id}.bin").write_bytes(bytes(48))
    assert read_index(tmp_path) == [FrameEntry("000002", "000002", 0, 3), FrameEntry("000005", "000005", 0, 3)]


def test_a_folder_of_another_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="KITTI object layout"):
        read_index(tmp_path)


@pytest.mark.parametrize("missing", HEADER.split(","))
def test_a_missing_column_is_refused_by_name(missing: str) -> None:
    columns = [column for column in HEADER.split(",") if column != missing]
    with pytest.raises(InvalidArgument, match=f"without {missing}") as error:
        parse_index("frames.csv", [",".join(columns), ",".join("1" for _ in columns)])
    assert error.value.violations[0].field == "frames.csv:1"


def test_an_empty_index_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="without id"):
        parse_index("frames.csv", [])


@pytest.mark.parametrize(
    ("row", "field", "what"),
    [
        ("000002,drive_a,7,20000,object", "frames.csv:3", "another length"),
        (ROW + ",more", "frames.csv:3", "another length"),
        (ROW, "frames.csv:3.id", "000001"),
        (ROW.replace("000001", "../x"), "frames.csv:3.id", "../x"),
        (ROW.replace("000001", "2").replace("drive_a", "a b"), "frames.csv:3.drive", "a b"),
        (ROW.replace("000001", "2").replace(",7,", ",-7,"), "frames.csv:3.raw_frame", "-7"),
        (ROW.replace("000001", "2").replace(",7,", ",7.5,"), "frames.csv:3.raw_frame", "7.5"),
        (ROW.replace("000001", "2").replace("20000", "many"), "frames.csv:3.points", "many"),
        (ROW.replace("000001", "2").replace("pool", "training"), "frames.csv:3.split", "training"),
    ],
)
def test_a_malformed_row_is_refused_by_line(row: str, field: str, what: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        parse_index("frames.csv", [HEADER, ROW, row])
    violation = error.value.violations[0]
    assert violation.field == field
    assert what in violation.value


def test_a_pose_that_is_none_is_refused() -> None:
    header = HEADER + ",ego_x_m,ego_y_m,ego_z_m,ego_qw,ego_qx,ego_qy,ego_qz"
    with pytest.raises(InvalidArgument, match="unit quaternion"):
        parse_index("frames.csv", [header, ROW + ",0,0,0,0.5,0,0,0"])
