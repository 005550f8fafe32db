"""What is said on one StreamScores, over as many calls as it takes: which frames were read, sent and answered."""

from collections import OrderedDict
from datetime import timedelta

from quandary.convert import frame_message
from quandary.errors import Internal, InvalidArgument, Unavailable
from quandary.frames import Frame
from quandary.option_messages import options_message
from quandary.options import ScoringOptions
from quandary.v1 import scoring_pb2

__all__ = ["Conversation"]


class Conversation:
    """The frames of a stream, numbered from 0, of which at most `window` are read and not yet answered.

    A frame's request is kept until its answer is there, so that another call can go on where one broke. crop: send the crops
    of a frame that has a whole cloud. Raises InvalidArgument for a window < 1. It knows neither gRPC nor threads.
    """

    def __init__(self, options: ScoringOptions, window: int, crop: bool) -> None:
        if window < 1:
            raise InvalidArgument.of("window", window, ">= 1")
        self._options, self._window, self._crop = options, window, crop
        self._read = 0
        self._sent = 0
        self._all_read = False
        self._problem: Exception | None = None
        self._unanswered: OrderedDict[int, scoring_pb2.StreamScoresRequest] = OrderedDict()

    @property
    def may_read(self) -> bool:
        """Whether the next frame may be read."""
        return not self._all_read and len(self._unanswered) < self._window

    @property
    def all_sent(self) -> bool:
        """Whether all frames are read and sent."""
        return self._all_read and self._sent == self._read

    def request(self, frame: Frame) -> scoring_pb2.StreamScoresRequest:
        """Return a frame's request, not numbered yet: cropping takes its time, and changes nothing here."""
        return scoring_pb2.StreamScoresRequest(frame=frame_message(frame.lightest() if self._crop else frame))

    def note_read(self, request: scoring_pb2.StreamScoresRequest) -> None:
        """Take note of the next frame's request."""
        request.sequence = self._read
        self._unanswered[self._read] = request
        self._read += 1

    def note_last(self, problem: Exception | None = None) -> None:
        """Take note that there are no more frames, because of a problem of their source if any."""
        self._all_read, self._problem = True, problem

    def begin(self, left: timedelta | None) -> scoring_pb2.StreamScoresRequest:
        """Begin a call, anew from the first frame not answered; return its first message. left: the time it may take."""
        self._sent = next(iter(self._unanswered), self._read)
        opening = scoring_pb2.StreamScoresRequest(options=options_message(self._options))
        if left is not None:
            opening.timeout.FromTimedelta(left)
        return opening

    def next_request(self) -> scoring_pb2.StreamScoresRequest | None:
        """Return the next request to send on the call, None while there is none."""
        while self._sent < self._read:
            self._sent += 1
            if (request := self._unanswered.get(self._sent - 1)) is not None:
                return request
        return None

    def note_answer(self, answer: scoring_pb2.StreamScoresResponse) -> None:
        """Take note of an answer; raises Internal if it answers no frame that was sent and waits."""
        if answer.sequence >= self._sent or self._unanswered.pop(answer.sequence, None) is None:
            raise Internal(f"an answer came to sequence {answer.sequence}, which does not wait for one")

    def check_complete(self) -> None:
        """Raise Unavailable where a call that ended in order left frames unanswered, or unread."""
        if self._unanswered:
            first = next(iter(self._unanswered))
            raise Unavailable(f"the stream ended with {len(self._unanswered)} frames unanswered, the first is {first}")
        if not self._all_read:
            raise Unavailable(f"the stream ended after {self._read} frames, before their end")

    def raise_problem(self) -> None:
        """Raise the problem of the frames' source, if there was one."""
        if self._problem is not None:
            raise self._problem
