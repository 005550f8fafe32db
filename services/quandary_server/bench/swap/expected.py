"""What each generation has to answer: computed here, without the service, to the last bit."""

import hashlib
from collections.abc import Sequence

from quandary.convert import frame_message
from quandary.frames import Frame
from quandary.options import ScoringOptions
from quandary.v1 import scoring_pb2
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.inference.provider import Provider
from quandary_server.registry.directory import Registry
from quandary_server.scoring.engine import FramesScored
from quandary_server.scoring.joint import score_jointly
from quandary_server.wire.frames import Limits

CROPS, FRAMES = 4, 3
OPTIONS = ScoringOptions(mc_samples=5, seed=0)


def digest(result: scoring_pb2.FrameResult) -> str:
    """Return the SHA-256 of an answer, hexadecimal: of its score and of the generation that it names."""
    return hashlib.sha256(result.SerializeToString(deterministic=True)).hexdigest()


def expected_digests(
    registry: Registry, generations: Sequence[str], frames: Sequence[Frame], limits: Limits
) -> dict[str, list[str]]:
    """Return by generation the digest of each frame's right answer."""
    return {
        generation: [_answer(LoadedGeneration(registry.load(generation), Provider.CPU), frame, limits) for frame in frames]
        for generation in generations
    }


def _answer(generation: LoadedGeneration, frame: Frame, limits: Limits) -> str:
    request = FramesScored(limits, [frame_message(frame)], ["frames[0]"], generation, OPTIONS)
    (found,) = score_jointly(generation, OPTIONS, [request])
    if isinstance(found, Exception):
        raise found
    return digest(found[0][0])
