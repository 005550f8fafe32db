from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quandary.errors import InvalidArgument
from quandary.frames import Proposal
from quandary.geometry import ImageBox
from quandary_server.datasets.detections import format_detections, parse_detections, read_detections

LINE = "dataset/KITTI/object/training/image_2/000003.png 2 0.994489 612 182 725 285"
NAME = "rgb_detections/rgb_detection_val.txt"

tenths = st.integers(-500, 5000).map(lambda px: px / 10)


@st.composite
def proposals(draw: st.DrawFn) -> Proposal:
    left, top = draw(tenths), draw(tenths)
    width, height = draw(st.integers(1, 3000)) / 10, draw(st.integers(1, 3000)) / 10
    box = ImageBox(left, top, round(left + width, 1), round(top + height, 1))
    score = draw(st.integers(0, 10**6)) / 10**6
    return Proposal(box, score, draw(st.sampled_from(["Pedestrian", "Car", "Cyclist"])))


def test_a_published_line_is_a_proposal() -> None:
    assert parse_detections(NAME, [LINE]) == [("000003", Proposal(ImageBox(612, 182, 725, 285), 0.994489, "Car"))]


@pytest.mark.parametrize(("class_id", "hint"), [(1, "Pedestrian"), (2, "Car"), (3, "Cyclist")])
def test_the_class_is_a_hint(class_id: int, hint: str) -> None:
    line = LINE.replace(" 2 ", f" {class_id} ")
    assert parse_detections(NAME, [line])[0][1].class_hint == hint


@given(found=st.dictionaries(st.sampled_from(["000000", "000001", "b-7"]), st.lists(proposals(), min_size=1, max_size=4)))
def test_what_is_written_is_read_back(found: dict[str, list[Proposal]]) -> None:
    back: dict[str, list[Proposal]] = {}
    for frame_id, proposal in parse_detections(NAME, format_detections(found)):
        back.setdefault(frame_id, []).append(proposal)
    assert back == found


def test_all_files_of_the_name_below_the_root_are_read(tmp_path: Path) -> None:
    for folder, frame_id in (("a", "000001"), ("b/c", "000002")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "rgb_detection_x.txt").write_text(LINE.replace("000003", frame_id))
    (tmp_path / "notes.txt").write_text("not one of them")
    assert set(read_detections(tmp_path)) == {"000001", "000002"}


def test_a_folder_may_have_none(tmp_path: Path) -> None:
    assert read_detections(tmp_path) == {}


@pytest.mark.parametrize(
    ("line", "field", "what"),
    [
        (LINE + " 1", f"{NAME}:2", "8 columns"),
        ("", f"{NAME}:2", "0 columns"),
        (LINE.replace(" 2 ", " 4 "), f"{NAME}:2.class", "4"),
        (LINE.replace(" 2 ", " 1.5 "), f"{NAME}:2.class", "1.5"),
        (LINE.replace("612", "x"), f"{NAME}:2", "'x'"),
        (LINE.replace("0.994489", "1.2"), f"{NAME}:2.confidence", "1.2"),
        (LINE.replace("0.994489", "nan"), f"{NAME}:2", "'nan'"),
        (LINE.replace("725", "600"), f"{NAME}:2.left_px", "612"),
    ],
)
def test_a_malformed_line_is_refused_by_file_and_line(line: str, field: str, what: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        parse_detections(NAME, [LINE, line])
    violation = error.value.violations[0]
    assert violation.field == field
    assert what in violation.value


@pytest.mark.parametrize(
    ("proposal", "field"),
    [
        (Proposal(ImageBox(0, 0, 1, 1), None, "Car"), "000001[0].confidence"),
        (Proposal(ImageBox(0, 0, 1, 1), 0.5, "Van"), "000001[0].class_hint"),
        (Proposal(ImageBox(0, 0, 1, 1), 0.5), "000001[0].class_hint"),
    ],
)
def test_what_the_format_cannot_say_is_refused(proposal: Proposal, field: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        format_detections({"000001": [proposal]})
    assert error.value.violations[0].field == field
