"""What is said on a stream, without gRPC: windows, numbers, and another call that goes on where one broke."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quandary import Calibration, Frame, Internal, InvalidArgument, ScoringOptions, Unavailable
from quandary.conversation import Conversation
from quandary.v1 import scoring_pb2

OPTIONS = ScoringOptions()


def read(talk: Conversation, count: int = 1) -> None:
    for _ in range(count):
        assert talk.may_read
        talk.note_read(scoring_pb2.StreamScoresRequest(frame=scoring_pb2.FrameInput(frame_id="f")))


def sent(talk: Conversation) -> list[int]:
    found = []
    while (request := talk.next_request()) is not None:
        found.append(request.sequence)
    return found


def answer(talk: Conversation, *sequences: int) -> None:
    for sequence in sequences:
        talk.note_answer(scoring_pb2.StreamScoresResponse(sequence=sequence))


def test_the_opening_carries_options_and_the_time_that_is_left(frame: Frame) -> None:
    talk = Conversation(OPTIONS, 4, crop=True)
    assert not talk.begin(None).HasField("timeout")
    opening = talk.begin(timedelta(seconds=2.5))
    assert (opening.HasField("options"), opening.timeout.ToTimedelta()) == (True, timedelta(seconds=2.5))
    assert talk.request(frame).frame.WhichOneof("lidar") == "crops"
    assert Conversation(OPTIONS, 4, crop=False).request(frame).frame.WhichOneof("lidar") == "cloud"


def test_frames_are_numbered_and_read_up_to_the_window() -> None:
    talk = Conversation(OPTIONS, 3, crop=True)
    talk.begin(None)
    read(talk, 3)
    assert not talk.may_read
    assert sent(talk) == [0, 1, 2]
    answer(talk, 1)
    read(talk)
    assert not talk.may_read
    assert sent(talk) == [3]


def test_another_call_goes_on_with_what_has_no_answer_in_order() -> None:
    talk = Conversation(OPTIONS, 6, crop=True)
    talk.begin(None)
    read(talk, 5)
    assert sent(talk) == [0, 1, 2, 3, 4]
    answer(talk, 0, 2)
    talk.begin(None)
    assert sent(talk) == [1, 3, 4]
    answer(talk, 1, 3, 4)
    talk.begin(None)
    assert sent(talk) == []
    read(talk)
    assert sent(talk) == [5]


def test_what_was_read_between_two_calls_is_sent_by_the_second() -> None:
    talk = Conversation(OPTIONS, 6, crop=True)
    talk.begin(None)
    read(talk)
    assert sent(talk) == [0]
    read(talk, 2)
    talk.begin(None)
    assert sent(talk) == [0, 1, 2]


@pytest.mark.parametrize("sequence", [0, 3, 4, 77, -1])
def test_an_answer_that_nobody_waits_for_is_an_error(sequence: int) -> None:
    talk = Conversation(OPTIONS, 6, crop=True)
    talk.begin(None)
    read(talk, 3)
    assert sent(talk) == [0, 1, 2]
    read(talk)
    answer(talk, 0)
    with pytest.raises(Internal, match=f"sequence {sequence}"):
        answer(talk, sequence)


def test_it_is_complete_when_all_are_read_and_answered() -> None:
    talk = Conversation(OPTIONS, 6, crop=True)
    talk.begin(None)
    read(talk, 2)
    assert sent(talk) == [0, 1]
    with pytest.raises(Unavailable, match="2 frames unanswered, the first is 0"):
        talk.check_complete()
    answer(talk, 0, 1)
    with pytest.raises(Unavailable, match="after 2 frames, before their end"):
        talk.check_complete()
    assert (talk.all_sent, talk.may_read) == (False, True)
    talk.note_last()
    assert (talk.all_sent, talk.may_read) == (True, False)
    talk.check_complete()
    talk.raise_problem()


def test_a_problem_of_the_source_is_kept_for_the_end() -> None:
    talk = Conversation(OPTIONS, 6, crop=True)
    talk.note_last(OSError("the disk is gone"))
    talk.check_complete()
    with pytest.raises(OSError, match="the disk"):
        talk.raise_problem()


def test_a_window_of_none_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="window"):
        Conversation(OPTIONS, 0, crop=True)


@given(st.integers(1, 5), st.integers(0, 30), st.lists(st.sampled_from(["read", "send", "answer", "break"]), max_size=200))
def test_however_often_it_breaks_each_frame_is_answered_once_and_in_order(window: int, frames: int, steps: list[str]) -> None:
    """The server answers in order what this call sent to it; a break loses all that was not answered."""
    talk = Conversation(OPTIONS, window, crop=True)
    talk.begin(None)
    left, in_flight, answered = frames, list[int](), list[int]()

    def step(name: str) -> None:
        nonlocal left
        if name == "read" and talk.may_read:
            if left:
                left -= 1
                read(talk)
            else:
                talk.note_last()
        elif name == "send" and (request := talk.next_request()) is not None:
            in_flight.append(request.sequence)
        elif name == "answer" and in_flight:
            answered.append(in_flight.pop(0))
            answer(talk, answered[-1])
        elif name == "break":
            in_flight.clear()
            talk.begin(None)
        assert len(in_flight) <= window

    for name in steps:
        step(name)
    while not (talk.all_sent and len(answered) == frames):
        for name in ("read", "send", "answer"):
            step(name)
    talk.check_complete()
    assert answered == list(range(frames))


def test_a_frame_keeps_its_request_until_it_is_answered(frame: Frame, calibration: Calibration) -> None:
    talk = Conversation(OPTIONS, 2, crop=True)
    talk.begin(None)
    talk.note_read(talk.request(replace(frame, frame_id="first")))
    first = talk.next_request()
    talk.begin(None)
    assert talk.next_request() is first
