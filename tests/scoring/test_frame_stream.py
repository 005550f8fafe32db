"""A stream on the server's side, without a detector: windows, bytes, order and ends."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from quandary.errors import InvalidArgument, NotFound
from quandary.v1 import scoring_pb2
from quandary_server.scoring.frame_stream import FrameStream, ReadAhead

PLENTY = 1 << 30


def request(sequence: int) -> scoring_pb2.StreamScoresRequest:
    return scoring_pb2.StreamScoresRequest(frame=scoring_pb2.FrameInput(frame_id="f"), sequence=sequence)


class Scorer:
    """Answers when it is let; counts what it began and what was cancelled."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.cancelled: list[int] = []
        self._let = asyncio.Event()

    def let(self) -> None:
        self._let.set()

    async def __call__(self, found: scoring_pb2.StreamScoresRequest) -> scoring_pb2.StreamScoresResponse:
        self.begun.append(found.sequence)
        try:
            await self._let.wait()
        except asyncio.CancelledError:
            self.cancelled.append(found.sequence)
            raise
        return scoring_pb2.StreamScoresResponse(sequence=found.sequence)


class Source:
    """Requests without end unless told otherwise; counts those taken."""

    def __init__(self, count: int = 1000) -> None:
        self.taken, self._count = 0, count

    async def __aiter__(self) -> AsyncIterator[scoring_pb2.StreamScoresRequest]:
        for sequence in range(self._count):
            self.taken += 1
            yield request(sequence)


async def settled() -> None:
    """Let every task that can go on do so."""
    for _ in range(100):
        await asyncio.sleep(0)


def test_no_more_frames_than_the_window_are_in_work_and_one_more_is_read() -> None:
    async def main() -> None:
        scorer, source = Scorer(), Source()
        answers = FrameStream(scorer, 5, ReadAhead(PLENTY)).answers(aiter(source))
        first = asyncio.create_task(anext(answers))
        await settled()
        assert (scorer.begun, source.taken) == ([0, 1, 2, 3, 4], 6)
        scorer.let()
        assert (await first).sequence == 0
        # answers that nobody takes hold their places
        await settled()
        assert source.taken == 6
        assert [(await anext(answers)).sequence for _ in range(20)] == list(range(1, 21))
        assert source.taken <= 21 + 5
        await answers.aclose()

    asyncio.run(main())


def test_answers_come_in_the_order_of_the_frames_whichever_is_ready_first() -> None:
    async def main() -> None:
        let = [asyncio.Event() for _ in range(4)]

        async def score(found: scoring_pb2.StreamScoresRequest) -> scoring_pb2.StreamScoresResponse:
            await let[found.sequence].wait()
            return scoring_pb2.StreamScoresResponse(sequence=found.sequence)

        found = []

        async def collect() -> None:
            async for answer in FrameStream(score, 4, ReadAhead(PLENTY)).answers(aiter(Source(4))):
                found.append(answer.sequence)

        collecting = asyncio.create_task(collect())
        for event in reversed(let):
            await settled()
            assert found == []
            event.set()
        await collecting
        assert found == [0, 1, 2, 3]

    asyncio.run(main())


def test_who_goes_early_ends_the_work_on_what_is_not_answered() -> None:
    async def main() -> None:
        scorer, source, ahead = Scorer(), Source(), ReadAhead(PLENTY)
        answers = FrameStream(scorer, 5, ahead).answers(aiter(source))
        first = asyncio.create_task(anext(answers))
        await settled()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await settled()
        assert sorted(scorer.cancelled) == [0, 1, 2, 3, 4]
        assert source.taken == 6
        await asyncio.wait_for(ahead.take(PLENTY, lambda: False), 1)

    asyncio.run(main())


def test_an_error_of_a_frame_ends_the_stream_after_the_answers_before_it() -> None:
    async def main() -> None:
        async def score(found: scoring_pb2.StreamScoresRequest) -> scoring_pb2.StreamScoresResponse:
            if found.sequence == 2:
                raise NotFound("gone")
            return scoring_pb2.StreamScoresResponse(sequence=found.sequence)

        answers = FrameStream(score, 5, ReadAhead(PLENTY)).answers(aiter(Source()))
        assert [(await anext(answers)).sequence for _ in range(2)] == [0, 1]
        with pytest.raises(NotFound, match="gone"):
            await anext(answers)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (scoring_pb2.StreamScoresRequest(), "message"),
        (scoring_pb2.StreamScoresRequest(options=scoring_pb2.ScoringOptions()), "message"),
        (request(-1), "sequence"),
    ],
)
def test_a_message_out_of_place_ends_the_stream(wrong: scoring_pb2.StreamScoresRequest, field: str) -> None:
    async def source() -> AsyncIterator[scoring_pb2.StreamScoresRequest]:
        yield request(0)
        yield wrong

    async def main() -> None:
        scorer = Scorer()
        scorer.let()
        answers = FrameStream(scorer, 5, ReadAhead(PLENTY)).answers(source())
        assert (await anext(answers)).sequence == 0
        with pytest.raises(InvalidArgument) as error:
            await anext(answers)
        assert error.value.violations[0].field == field

    asyncio.run(main())


def test_a_timeout_belongs_to_the_options() -> None:
    async def source() -> AsyncIterator[scoring_pb2.StreamScoresRequest]:
        wrong = request(0)
        wrong.timeout.FromSeconds(1)
        yield wrong

    async def main() -> None:
        with pytest.raises(InvalidArgument, match="timeout"):
            await anext(FrameStream(Scorer(), 5, ReadAhead(PLENTY)).answers(source()))

    asyncio.run(main())


def test_all_streams_together_hold_no_more_bytes_than_allowed_and_each_may_hold_one_frame() -> None:
    async def main() -> None:
        size = request(1).ByteSize()
        ahead = ReadAhead(2 * size)
        scorers = [Scorer() for _ in range(3)]
        streams = [FrameStream(scorer, 5, ahead).answers(aiter(Source())) for scorer in scorers]
        firsts = [asyncio.create_task(anext(stream)) for stream in streams]
        await settled()
        assert sum(len(scorer.begun) for scorer in scorers) <= 4
        assert all(scorer.begun for scorer in scorers)
        for scorer in scorers:
            scorer.let()
        assert [(await first).sequence for first in firsts] == [0, 0, 0]
        for stream in streams:
            assert [(await anext(stream)).sequence for _ in range(50)] == list(range(1, 51))
            await stream.aclose()

    asyncio.run(main())
