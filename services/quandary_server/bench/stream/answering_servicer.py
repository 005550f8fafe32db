"""ScoringService that costs next to nothing."""

import hashlib
from collections.abc import AsyncIterator

from quandary.option_messages import scoring_options
from quandary.v1 import scoring_pb2, scoring_pb2_grpc
from quandary_server.bench.queue.local_scorer import answer_of, rasters_of
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.wire.frames import Limits, frame

LIMITS = Limits(max_frames=1, max_proposals=64, max_crops=64, max_points=10**6, max_message_bytes=2**26)


class AnsweringServicer(scoring_pb2_grpc.ScoringServiceServicer):
    """Answers with what the generation said of the first frame of as many proposals, whoever asks; scores differ by frame."""

    def __init__(self, generation: LoadedGeneration) -> None:
        self._generation = generation
        self._answers: dict[int, scoring_pb2.FrameScore] = {}

    async def ScoreFrames(self, request: scoring_pb2.ScoreFramesRequest, _: object) -> scoring_pb2.ScoreFramesResponse:
        """Answer each frame."""
        results = [self._result(message, request.options) for message in request.frames]
        return scoring_pb2.ScoreFramesResponse(generation=self._generation.id, results=results)

    async def StreamScores(
        self, request: AsyncIterator[scoring_pb2.StreamScoresRequest], _: object
    ) -> AsyncIterator[scoring_pb2.StreamScoresResponse]:
        """Answer each frame behind the options."""
        options = (await anext(request)).options
        async for message in request:
            yield scoring_pb2.StreamScoresResponse(sequence=message.sequence, result=self._result(message.frame, options))

    async def GetServingStatus(
        self, request: scoring_pb2.GetServingStatusRequest, _: object
    ) -> scoring_pb2.GetServingStatusResponse:
        """Tell the generation."""
        return scoring_pb2.GetServingStatusResponse(generation=self._generation.id, ready=True)

    def _result(self, message: scoring_pb2.FrameInput, options: scoring_pb2.ScoringOptions) -> scoring_pb2.FrameResult:
        crops = len(message.proposals)
        if crops not in self._answers:
            self._answers[crops] = self._scored(message, options)
        result = scoring_pb2.FrameResult(frame_id=message.frame_id, score=self._answers[crops])
        digest = hashlib.blake2b(message.frame_id.encode(), digest_size=4).digest()
        result.score.score = int.from_bytes(digest, "big") / 2**32
        return result

    def _scored(self, message: scoring_pb2.FrameInput, options: scoring_pb2.ScoringOptions) -> scoring_pb2.FrameScore:
        cropped = frame(message, LIMITS).cropped()
        rasters = rasters_of(cropped, self._generation.manifest.net.side)
        return answer_of(self._generation, cropped, rasters, scoring_options(options))
