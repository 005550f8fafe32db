"""A service that batches, through real channels: what waits behind a held thread is computed as one, to the same bytes."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from support.open_inference import OpenInference, infer_request, output_values, tensors
from support.scoring import LIMITS, ScoringService
from support.waiting import wait_for

from quandary import Estimator, Frame, ScoringOptions
from quandary.convert import frame_message
from quandary.option_messages import options_message
from quandary.v1 import scoring_pb2, scoring_pb2_grpc
from quandary_server.frustum.raster import Rasters
from quandary_server.registry.directory import Artefacts
from quandary_server.scoring.batch import BatchLimit

OPTIONS = [
    ScoringOptions(Estimator.ENSEMBLE_MC_DROPOUT, mc_samples=5),
    ScoringOptions(Estimator.ENSEMBLE_MC_DROPOUT, mc_samples=5, seed=3),
    ScoringOptions(Estimator.MC_DROPOUT, mc_samples=4),
    ScoringOptions(Estimator.SOFTMAX),
]
"""Of these each kind has three calls."""
CALLS = 12


@pytest.fixture
def batching(tmp_path: Path, generation: Artefacts) -> Iterator[ScoringService]:
    service = ScoringService(tmp_path, generation, batching=BatchLimit(jobs=8, crops=30))
    service.start()
    service.promote(service.register())
    yield service
    service.stop()


def score(service: ScoringService, frame: Frame, options: ScoringOptions) -> bytes:
    """Return the answer to a call as it was sent, but for the generation's name."""
    with service.client() as client:
        [result] = client.score_frames([frame], options).results
    assert result.HasField("score"), result.error
    sent: bytes = result.score.SerializeToString(deterministic=True)
    return sent


def admitted(service: ScoringService) -> int:
    return service.told.arrivals["call", "admitted"]


def test_calls_of_each_kind_are_computed_as_one_to_the_bytes_of_alone(
    batching: ScoringService, service: ScoringService, make_frame: Callable[..., Frame]
) -> None:
    frames = [make_frame(f"f{k}", seed=k, proposals=k % 4) for k in range(CALLS)]
    options = [OPTIONS[k % len(OPTIONS)] for k in range(CALLS)]
    with ThreadPoolExecutor(CALLS) as pool:
        with batching.held():
            before = admitted(batching)
            calls = [pool.submit(score, batching, frame, asked) for frame, asked in zip(frames, options, strict=True)]
            wait_for(lambda: admitted(batching) == before + CALLS)
        found = [call.result(timeout=60) for call in calls]
    # beside the work that held the thread, in four batches of three
    assert batching.told.together == {1: 1, 3: CALLS}
    assert found == [score(service, frame, asked) for frame, asked in zip(frames, options, strict=True)]
    assert set(service.told.together) == {1}


@contextmanager
def raw_call(service: ScoringService, frame: Frame) -> Iterator[Any]:
    """Begin a call that the client's own way of retrying does not touch."""
    options = options_message(OPTIONS[0])
    request = scoring_pb2.ScoreFramesRequest(frames=[frame_message(frame)], options=options)
    with grpc.insecure_channel(service.target) as channel:
        stub = scoring_pb2_grpc.ScoringServiceStub(channel)
        yield stub.ScoreFrames.future(request, metadata=(("authorization", f"Bearer {service.token}"),))


def test_a_bad_call_and_a_cancelled_one_cost_the_others_nothing(
    batching: ScoringService, make_frame: Callable[..., Frame]
) -> None:
    good, expected = make_frame("good"), score(batching, make_frame("good"), OPTIONS[0])
    bad = make_frame("bad", seed=9, proposals=LIMITS.max_proposals + 1)
    with ThreadPoolExecutor(4) as pool:
        with batching.held():
            before = admitted(batching)
            calls = [pool.submit(score, batching, good, OPTIONS[0]) for _ in range(2)]
            wrong = pool.submit(score, batching, bad, OPTIONS[0])
            with raw_call(batching, good) as cancelled:
                wait_for(lambda: admitted(batching) == before + 4)
                cancelled.cancel()
                wait_for(lambda: batching.told.drops == {("call", "cancelled"): 1})
        assert [call.result(timeout=60) for call in calls] == [expected] * 2
        with pytest.raises(AssertionError, match="proposals"):
            wrong.result(timeout=60)
    assert batching.told.together[3] == 3


def test_the_frames_of_a_stream_are_computed_together(batching: ScoringService, make_frame: Callable[..., Frame]) -> None:
    frames = [make_frame(f"s{k}", seed=k) for k in range(20)]
    with batching.client() as client:
        answers = list(client.stream_scores(iter(frames), OPTIONS[0]))
    expected = [score(batching, frame, OPTIONS[0]) for frame in frames]
    assert [answer.result.score.SerializeToString(deterministic=True) for answer in answers] == expected


def test_stock_calls_are_computed_as_one_and_their_models_never_mix(
    batching: ScoringService, rasters: Callable[[int], Rasters]
) -> None:
    stub = OpenInference(batching.target, batching.token)
    asked = [("member-0", 2), ("member-1", 3), ("member-0", 4), ("ensemble", 1), ("ensemble", 5), ("member-1", 2)]
    wrong = tensors(rasters(3))
    wrong["geometry"] = np.full_like(wrong["geometry"], np.nan)

    def infer(model: str, crops: int) -> dict[str, bytes]:
        found = output_values(stub.infer(tensors(rasters(crops)), model, raw=True))
        return {name: values.tobytes() for name, values in found.items()}

    alone = [infer(*one) for one in asked]
    batching.told.together.clear()
    with ThreadPoolExecutor(len(asked) + 1) as pool:
        with batching.held():
            before = admitted(batching)
            calls = [pool.submit(infer, *one) for one in asked]
            bad = pool.submit(stub.call, "ModelInfer", infer_request(wrong, "member-0"))
            wait_for(lambda: admitted(batching) == before + len(asked) + 1)
        assert [call.result(timeout=60) for call in calls] == alone
        with pytest.raises(grpc.RpcError, match="INVALID_ARGUMENT"):
            bad.result(timeout=60)
    # the holder, and the pairs of the ensemble and of member 1; of member 0 three, of which one was bad
    assert batching.told.together == {1: 1, 2: 4, 3: 2}
