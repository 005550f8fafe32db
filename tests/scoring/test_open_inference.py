"""The Open Inference Protocol for good requests, through a real channel: the same figures as ScoreFrames, to the bit."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from support.open_inference import OpenInference, infer_request, output_values, raster_frame, tensors
from support.scoring import LIMITS, Told

from quandary import Acquisition, Estimator, ScoringOptions, result_score
from quandary.convert import tensor_values
from quandary.error_messages import ERROR_TRAILER
from quandary.v1 import error_pb2, scoring_pb2
from quandary_server.auth import Keyring, Role, issue_token
from quandary_server.clock import now
from quandary_server.frustum.raster import Rasters
from quandary_server.grpc_server import start_server
from quandary_server.inference.cascade import escalation_threshold
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.inference.provider import Provider
from quandary_server.inference.scores import score_rasters
from quandary_server.registry.directory import Artefacts
from quandary_server.registry.manifest import CascadeRecord
from quandary_server.scoring.admission import QueueLimit
from quandary_server.scoring.batch import Together
from quandary_server.scoring.cost import load_of_crops
from quandary_server.scoring.engine import Engine, crops_per_part
from quandary_server.scoring.open_inference.infer import Inference
from quandary_server.scoring.open_inference.inputs import read_crops
from quandary_server.scoring.open_inference.models import named
from quandary_server.scoring.open_inference.outputs import OUTPUTS, outputs_of
from quandary_server.scoring.open_inference.servicer import OpenInferenceServicer
from quandary_server.scoring.schedule import Part, Terms
from quandary_server.scoring.work import Work
from quandary_server.wire.door import Door
from quandary_server.wire.frames import Limits
from quandary_server.wire.inference_v2 import open_inference_pb2 as protocol
from quandary_server.wire.inference_v2 import open_inference_pb2_grpc

SAME = [
    ("ensemble", {}, ScoringOptions()),
    ("ensemble", {"mc_samples": 0}, ScoringOptions(Estimator.DEEP_ENSEMBLE)),
    (
        "mc_dropout",
        {"seed": 5, "mc_samples": 7, "acquisition": "mutual_information"},
        ScoringOptions(Estimator.MC_DROPOUT, Acquisition.MUTUAL_INFORMATION, mc_samples=7, seed=5),
    ),
    (
        "escalate",
        {"mc_samples": 8, "escalate_share": 0.4},
        ScoringOptions(Estimator.ESCALATE, mc_samples=8, escalate_share=0.4),
    ),
    ("member-0", {}, ScoringOptions(Estimator.SOFTMAX)),
    ("member-0", {"acquisition": "margin"}, ScoringOptions(Estimator.SOFTMAX, Acquisition.MARGIN)),
]


@pytest.fixture
def stub(service: Any) -> OpenInference:
    return OpenInference(service.target, service.token)


def figures(score: scoring_pb2.FrameScore) -> dict[str, NDArray[Any]]:
    """Return ScoreFrames' answer as the protocol names and types it; what is unset is left out."""
    objects, samples, estimator = score.objects, score.samples, score.estimator
    first, doubts = objects[0], [found.class_uncertainty for found in objects]
    boxes = [found.box for found in objects]
    told: dict[str, Any] = {
        "score": [found.score for found in objects],
        "predictive_entropy_nats": [found.predictive_entropy_nats for found in doubts],
        "expected_entropy_nats": [found.expected_entropy_nats for found in doubts],
        "margin": [found.margin for found in doubts],
        "box": [[b.x_m, b.y_m, b.z_m, b.length_m, b.width_m, b.height_m, b.yaw_rad] for b in boxes],
    }
    if estimator == scoring_pb2.ESTIMATOR_ESCALATE:
        told["escalated"] = [found.samples == samples for found in objects]
    if first.HasField("score_standard_error"):
        told["score_standard_error"] = [found.score_standard_error for found in objects]
    if doubts[0].HasField("mutual_information_nats"):
        told["mutual_information_nats"] = [found.mutual_information_nats for found in doubts]
        told["variation_ratio"] = [found.variation_ratio for found in doubts]
    single = {
        "class_probabilities": [found.class_probabilities for found in objects],
        "aleatoric_variance": [found.box_uncertainty.aleatoric_variance for found in objects],
        "embedding": [tensor_values(found.embedding) for found in objects],
    }
    if first.box_uncertainty.epistemic_variance:
        single["epistemic_variance"] = [found.box_uncertainty.epistemic_variance for found in objects]
    return {name: np.array(values) for name, values in told.items()} | {
        name: np.array(values, np.float32) for name, values in single.items()
    }


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
@pytest.mark.parametrize("crops", [1, 6])
@pytest.mark.parametrize(("model", "parameters", "options"), SAME)
def test_the_figures_are_those_of_score_frames_to_the_bit(
    calibrated: Any, stub: OpenInference, make_frame: Any, model: str, parameters: Any, options: Any, crops: int, raw: bool
) -> None:
    frame = make_frame("a", proposals=crops)
    asked = replace(options, include_embedding=True)
    with calibrated.client() as client:
        score = result_score(client.score_frames([frame], asked).results[0])
    response = stub.infer(tensors(raster_frame(frame)), model, raw=raw, **parameters)
    assert bool(response.raw_output_contents) == raw

    found, expected = output_values(response), figures(score)
    assert set(found) == set(expected)
    for name, values in expected.items():
        assert (found[name].dtype, found[name].shape) == (values.dtype, values.shape), name
        assert found[name].tobytes() == values.tobytes(), name
    told = response.parameters
    assert (told["samples"].int64_param, told["seed"].int64_param) == (score.samples, score.seed)
    assert told["estimator"].string_param == options.estimator
    assert told["acquisition"].string_param == options.effective_acquisition


def test_escalate_tells_which_crops_the_full_estimator_answered(
    calibrated: Any, rasters: Callable[[int], Rasters], record: CascadeRecord
) -> None:
    stub, crops = OpenInference(calibrated.target, calibrated.token), tensors(rasters(30))
    few = output_values(stub.infer(crops, mc_samples=record.masks, outputs=["score", "class_probabilities"]))
    full = output_values(stub.infer(crops, mc_samples=8, outputs=["score", "class_probabilities"]))
    asked = {"mc_samples": 8, "escalate_share": 0.5, "outputs": ["class_probabilities", "escalated", "score"]}
    found = output_values(stub.infer(crops, "escalate", **asked))
    options = ScoringOptions(Estimator.ESCALATE, mc_samples=8, escalate_share=0.5)
    assert found["escalated"].tolist() == (few["score"] >= escalation_threshold(record, options)).tolist()
    assert 0 < found["escalated"].sum() < 30
    for name in ("score", "class_probabilities"):
        which = found["escalated"].reshape(-1, *[1] * (found[name].ndim - 1))
        assert found[name].tobytes() == np.where(which, full[name], few[name]).tobytes()


def test_a_share_may_be_a_whole_number_and_one_escalates_all(calibrated: Any, rasters: Callable[[int], Rasters]) -> None:
    stub = OpenInference(calibrated.target, calibrated.token)
    for share in (1, 1.0):
        escalated = stub.infer(tensors(rasters(5)), "escalate", outputs=["escalated"], escalate_share=share)
        assert output_values(escalated)["escalated"].all()


def test_a_member_is_one_pass_without_dropout_and_their_mean_is_the_ensemble(
    stub: OpenInference, rasters: Callable[[int], Rasters], generation: Artefacts
) -> None:
    crops = rasters(4)
    members = [output_values(stub.infer(tensors(crops), f"member-{k}")) for k in range(3)]
    for k, member in enumerate(members):
        files = {"member-0.onnx": generation.manifest.files[f"member-{k}.onnx"]}
        alone = Artefacts(generation.manifest.model_copy(update={"files": files}), generation.members[k : k + 1])
        scores = score_rasters(LoadedGeneration(alone, Provider.CPU), crops, ScoringOptions(Estimator.SOFTMAX))
        assert member["class_probabilities"].tobytes() == scores.mean_probs.astype(np.float32).tobytes()
        assert member["embedding"].tobytes() == scores.embedding.tobytes()
    together = output_values(stub.infer(tensors(crops), "ensemble", mc_samples=0))
    mean = np.mean([member["class_probabilities"] for member in members], axis=0)
    assert together["class_probabilities"] == pytest.approx(mean, abs=1e-6)


@pytest.mark.parametrize("model", ["ensemble", "mc_dropout", "escalate", "member-2"])
def test_the_metadata_say_what_is_taken_and_answered(
    service: Any, stub: OpenInference, rasters: Callable[[int], Rasters], model: str
) -> None:
    metadata = stub.call("ModelMetadata", protocol.ModelMetadataRequest(name=model))
    assert (metadata.name, list(metadata.versions)) == (model, [service.keeper.generation().id])
    sent = infer_request(tensors(rasters(5)), model)
    answered = stub.call("ModelInfer", sent)
    assert (answered.model_name, answered.model_version, answered.id) == (model, metadata.versions[0], "call-7")
    for told, tensors_of in ((metadata.inputs, sent.inputs), (metadata.outputs, answered.outputs)):
        described = [(spec.name, spec.datatype, [5, *spec.shape[1:]]) for spec in told]
        assert described == [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in tensors_of]
        assert {spec.shape[0] for spec in told} == {-1}


def test_the_outputs_asked_for_are_the_ones_answered_in_their_order(
    stub: OpenInference, rasters: Callable[[int], Rasters]
) -> None:
    every = output_values(stub.infer(tensors(rasters(3))))
    some = output_values(stub.infer(tensors(rasters(3)), outputs=["embedding", "score"]))
    assert list(some) == ["embedding", "score"]
    assert list(every) == [output.name for output in OUTPUTS]
    assert all(some[name].tobytes() == every[name].tobytes() for name in some)


def test_what_too_few_samples_do_not_tell_is_left_out_unless_asked_for(
    stub: OpenInference, rasters: Callable[[int], Rasters]
) -> None:
    found = output_values(stub.infer(tensors(rasters(2)), "mc_dropout", mc_samples=2))
    assert "score_standard_error" not in found
    assert "epistemic_variance" in found
    with pytest.raises(grpc.RpcError) as caught:
        stub.infer(tensors(rasters(2)), "mc_dropout", mc_samples=2, outputs=["score", "score_standard_error"])
    assert code(caught.value) == "INVALID_ARGUMENT"


def test_without_anchors_boxes_are_in_the_frustums_own_frame(stub: OpenInference, rasters: Callable[[int], Rasters]) -> None:
    crops, asked = rasters(5), ["box"]
    inputs = tensors(crops)
    placed = output_values(stub.infer(inputs, outputs=asked))["box"]
    del inputs["anchors"]
    own = output_values(stub.infer(inputs, outputs=asked))["box"]
    bearing, centre = crops.anchors.bearing, crops.anchors.centre
    along, across = np.cos(bearing), np.sin(bearing)
    assert placed[:, 0] == pytest.approx(centre[:, 0] + along * own[:, 0] - across * own[:, 1])
    assert placed[:, 1] == pytest.approx(centre[:, 1] + across * own[:, 0] + along * own[:, 1])
    assert placed[:, 2] == pytest.approx(centre[:, 2] + own[:, 2])
    assert placed[:, 3:6] == pytest.approx(own[:, 3:6])
    assert np.cos(placed[:, 6] - own[:, 6] - bearing) == pytest.approx(1.0)


def computed(inference: Inference) -> list[Work]:
    """Compute every part by itself; return what was done."""
    done: list[Work] = []
    for part in inference.parts():
        [found] = part.work.compute([part.work.asked]) if isinstance(part.work, Together) else [part.work()]
        assert not isinstance(found, Exception)
        done.append(found[1])
    return done


def test_what_is_drawn_in_parts_is_what_is_drawn_at_once(generation: Artefacts, rasters: Callable[[int], Rasters]) -> None:
    loaded, options, crops = LoadedGeneration(generation, Provider.CPU), ScoringOptions(mc_samples=200), rasters(170)
    assert len(crops) > 2 * crops_per_part(options, loaded.members)
    request = infer_request(tensors(crops))
    limits = Limits(max_frames=1, max_proposals=1, max_crops=200, max_points=1, max_message_bytes=1)
    read = read_crops(request, loaded.manifest.net.side, limits)
    inference = Inference(request, loaded, options, read, outputs_of(named("model_name", "ensemble")))
    assert sum(work.crops for work in computed(inference)) == 170
    found, at_once = output_values(inference.response), score_rasters(loaded, crops, options)
    assert found["score"].tobytes() == at_once.score.tobytes()
    assert found["epistemic_variance"].tobytes() == at_once.epistemic.astype(np.float32).tobytes()


def test_before_the_first_promotion_the_server_is_live_and_not_ready(empty_service: Any) -> None:
    stub = OpenInference(empty_service.target, empty_service.token)
    assert stub.call("ServerLive", protocol.ServerLiveRequest()).live
    assert not stub.call("ServerReady", protocol.ServerReadyRequest()).ready
    for name in ("ensemble", "mc_dropout", "escalate", "member-0"):
        assert not stub.call("ModelReady", protocol.ModelReadyRequest(name=name)).ready
    with pytest.raises(grpc.RpcError) as caught:
        stub.call("ModelMetadata", protocol.ModelMetadataRequest(name="ensemble"))
    assert code(caught.value) == "FAILED_PRECONDITION"

    empty_service.promote(empty_service.register())
    assert stub.call("ServerReady", protocol.ServerReadyRequest()).ready
    for name in ("ensemble", "mc_dropout", "escalate", "member-2"):
        assert stub.call("ModelReady", protocol.ModelReadyRequest(name=name)).ready


def test_the_version_is_the_generation(service: Any, stub: OpenInference, rasters: Callable[[int], Rasters]) -> None:
    first = service.keeper.generation().id
    second = service.register(2.0)
    service.promote(second)
    assert list(stub.call("ModelMetadata", protocol.ModelMetadataRequest(name="ensemble")).versions) == [second, first]
    current, pinned = stub.infer(tensors(rasters(2))), stub.infer(tensors(rasters(2)), version=first)
    assert (current.model_version, pinned.model_version) == (second, first)
    assert output_values(current)["score"].tobytes() != output_values(pinned)["score"].tobytes()
    for version, ready in ((first, True), ("g000099-00000000", False)):
        assert stub.call("ModelReady", protocol.ModelReadyRequest(name="ensemble", version=version)).ready is ready


def test_tokens_and_roles_are_those_of_score_frames_but_for_live_and_ready(
    service: Any, rasters: Callable[[int], Rasters]
) -> None:
    labeller = issue_token(service.tokens, "anna", [Role.LABELLER], time=now(), lifetime=None)
    fleet = issue_token(service.tokens, "fleet-7", [Role.FLEET], time=now(), lifetime=None)
    guarded: list[tuple[str, Any]] = [
        ("ModelReady", protocol.ModelReadyRequest(name="ensemble")),
        ("ServerMetadata", protocol.ServerMetadataRequest()),
        ("ModelMetadata", protocol.ModelMetadataRequest(name="ensemble")),
        ("ModelInfer", infer_request(tensors(rasters(1)))),
    ]
    for token, expected in (("", "UNAUTHENTICATED"), (labeller.token, "PERMISSION_DENIED")):
        stub = OpenInference(service.target, token)
        assert stub.call("ServerLive", protocol.ServerLiveRequest()).live
        assert stub.call("ServerReady", protocol.ServerReadyRequest()).ready
        for method, request in guarded:
            with pytest.raises(grpc.RpcError) as caught:
                stub.call(method, request)
            assert code(caught.value) == expected
    for method, request in guarded:
        assert OpenInference(service.target, fleet.token).call(method, request) is not None


def test_calls_are_counted_by_method_and_code(service: Any, stub: OpenInference, rasters: Callable[[int], Rasters]) -> None:
    stub.call("ServerLive", protocol.ServerLiveRequest())
    stub.call("ServerReady", protocol.ServerReadyRequest())
    stub.infer(tensors(rasters(2)))
    with pytest.raises(grpc.RpcError):
        stub.infer(tensors(rasters(2)), "resnet")
    counted = [("ServerLive", "OK"), ("ServerReady", "OK"), ("ModelInfer", "OK"), ("ModelInfer", "NOT_FOUND")]
    assert service.calls[-4:] == counted


def test_work_is_admitted_by_the_engine_that_all_calls_share(service: Any, rasters: Callable[[int], Rasters]) -> None:
    async def go() -> None:
        engine, let_go = Engine(LIMITS, QueueLimit(0.0, 0.0), Told()), threading.Event()
        servicer = OpenInferenceServicer(Door(Keyring(service.tokens, now), lambda *_: None), service.keeper, engine, LIMITS)

        def register(server: grpc.aio.Server) -> None:
            open_inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)

        def hold() -> tuple[bool, Work]:
            return let_go.wait(60), Work()

        server, port = await start_server("127.0.0.1", 0, {}, [register])
        load = load_of_crops(40, ScoringOptions(), 3)
        held = asyncio.create_task(engine.run([Part(hold, load)], ScoringOptions(), Terms()))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            infer_with = open_inference_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer
            request, metadata = infer_request(tensors(rasters(1))), (("authorization", f"Bearer {service.token}"),)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await infer_with(request, metadata=metadata, timeout=30)
            assert code(caught.value) == "RESOURCE_EXHAUSTED"
            trailers: Any = caught.value.trailing_metadata()
            assert error_pb2.Error.FromString(dict(trailers)[ERROR_TRAILER]).HasField("retry_after")
            let_go.set()
            assert await held == [True]
            assert (await infer_with(request, metadata=metadata, timeout=30)).outputs
        await server.stop(0)
        engine.close()

    asyncio.run(go())


def code(error: Any) -> str:
    return str(error.code().name)
