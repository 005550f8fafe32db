from dataclasses import replace
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

import pytest

from quandary.errors import InvalidArgument
from quandary.frames import Proposal
from quandary.geometry import ImageBox
from quandary.records import EgoPose
from quandary_server.datasets.clouds import read_cloud
from quandary_server.datasets.kitti import KittiFolder
from quandary_server.datasets.records import frame_record


def test_a_record_refers_to_the_cloud_and_carries_the_rest(folder: Path) -> None:
    pose = EgoPose(1, 2, 3, 1, 0, 0, 0)
    frame = replace(KittiFolder(folder).read("000001"), ego_pose=pose)
    proposals = [Proposal(ImageBox(0, 0, 10, 10), 0.5, "Car")]
    record = frame_record(frame, proposals)
    assert (record.frame_id, record.drive_id, record.stamp, record.ego_pose) == ("000001", "b", frame.stamp, pose)
    assert record.proposals == tuple(proposals)
    assert record.image_uri == ""
    cloud = Path(url2pathname(urlparse(record.cloud_uri).path))
    assert (read_cloud(cloud) == read_cloud(frame.cloud_path)).all()


def test_an_image_is_referred_to_where_there_is_one(folder: Path) -> None:
    frame = replace(KittiFolder(folder).read("000001"), image_path=folder / "a b.png")
    assert frame_record(frame, []).image_uri == (folder / "a b.png").resolve().as_uri()


def test_a_proposal_outside_the_image_is_refused(folder: Path) -> None:
    frame = KittiFolder(folder).read("000001")
    with pytest.raises(InvalidArgument, match=r"proposals\[0\]\.box"):
        frame_record(frame, [Proposal(ImageBox(2000, 0, 2010, 10))])
