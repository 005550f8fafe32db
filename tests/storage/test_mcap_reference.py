"""mcap: URIs."""

from pathlib import Path

import pytest

from quandary.errors import InvalidArgument
from quandary_server.storage.mcap_reference import McapReference


@pytest.mark.parametrize(
    "reference",
    [
        McapReference("/lidar", 12),
        McapReference("/lidar/top & back", 0, 7),
        McapReference("/lidar", 12, 3, Path("/fleet/a b?#%.mcap"), "abc", 99, 2),
    ],
)
def test_a_reference_is_what_its_uri_says(reference: McapReference) -> None:
    assert McapReference.parse(reference.uri()) == reference


def test_the_short_form_is_for_people_to_write() -> None:
    assert McapReference.parse("mcap:///fleet/a.mcap?topic=/lidar&time=5") == McapReference(
        "/lidar", 5, path=Path("/fleet/a.mcap")
    )
    assert McapReference.parse("mcap:?topic=/lidar&time=5") == McapReference("/lidar", 5)


@pytest.mark.parametrize(
    "uri",
    [
        "mcap:",
        "mcap:?topic=/lidar",
        "mcap:?time=5",
        "mcap:?topic=/lidar&time=soon",
        "mcap:?topic=/lidar&time=-1",
        "mcap:?topic=/lidar&time=5&colour=red",
        "mcap://host/a.mcap?topic=/lidar&time=5",
        "mcap:a.mcap?topic=/lidar&time=5",
        "mcap:///a%00.mcap?topic=/lidar&time=5",
        "mcap:///a%FF.mcap?topic=/lidar&time=5",
        "file:///a.mcap?topic=/lidar&time=5",
    ],
)
def test_any_other_uri_is_refused(uri: str) -> None:
    with pytest.raises(InvalidArgument, match="cloud_uri"):
        McapReference.parse(uri)
