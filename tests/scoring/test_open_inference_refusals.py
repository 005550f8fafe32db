"""What the Open Inference Protocol refuses: by which status, naming which field, value and bound. Through a real channel."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.open_inference import OpenInference, infer_request, output_values, tensors
from support.scoring import ScoringService

from quandary.error_messages import ERROR_TRAILER
from quandary.options import Acquisition
from quandary.v1 import error_pb2
from quandary_server.frustum.raster import Rasters
from quandary_server.registry.directory import Artefacts
from quandary_server.scoring.open_inference.models import SERVED
from quandary_server.wire.inference_v2 import open_inference_pb2 as protocol

Request = protocol.ModelInferRequest
Mutate = Callable[[Request], Any]

SIDE = 24
NAN, INFINITY = float("nan"), float("inf")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, generation: Artefacts) -> Iterator[ScoringService]:
    service = ScoringService(tmp_path_factory.mktemp("refusals"), generation)
    service.start()
    service.promote(service.register())
    yield service
    service.stop()


def refused(service: ScoringService, method: str, request: Any) -> tuple[str, error_pb2.Error]:
    """Return code and error of a call that must be refused."""
    with pytest.raises(grpc.RpcError) as caught:
        OpenInference(service.target, service.token).call(method, request)
    failure: Any = caught.value
    return failure.code().name, error_pb2.Error.FromString(dict(failure.trailing_metadata())[ERROR_TRAILER])


def poke(name: str, place: tuple[int, ...], value: float) -> Mutate:
    """Return the change of one value of an input."""

    def change(request: Request) -> None:
        i = [tensor.name for tensor in request.inputs].index(name)
        dtype = np.float64 if name == "anchors" else np.float32
        values = np.frombuffer(request.raw_input_contents[i], dtype).reshape(tuple(request.inputs[i].shape)).copy()
        values[place] = value
        request.raw_input_contents[i] = values.tobytes()

    return change


def rename(request: Request) -> None:
    request.inputs[0].name = "images"


def repeat(request: Request) -> None:
    request.inputs[1].CopyFrom(request.inputs[0])


def lose_geometry(request: Request) -> None:
    del request.inputs[1], request.raw_input_contents[1]


def lose_contents(request: Request) -> None:
    del request.raw_input_contents[2]


def lose_all_contents(request: Request) -> None:
    del request.raw_input_contents[:]


def cut(request: Request) -> None:
    request.raw_input_contents[0] = request.raw_input_contents[0][:-4]


def both(request: Request) -> None:
    request.inputs[1].contents.fp32_contents.append(1.0)


def mistype(request: Request) -> None:
    lose_all_contents(request)
    request.inputs[0].contents.int_contents.extend([1] * (3 * 3 * SIDE * SIDE))


def halve(request: Request) -> None:
    request.inputs[0].datatype = "FP16"


def flatten(request: Request) -> None:
    request.inputs[0].shape[:] = [3, 3 * SIDE * SIDE]


def shrink_side(request: Request) -> None:
    request.inputs[0].shape[:] = [3, 3, SIDE - 1, SIDE]


def turn_negative(request: Request) -> None:
    request.inputs[0].shape[:] = [-3, 3, SIDE, SIDE]


def empty(request: Request) -> None:
    request.inputs[0].shape[:] = [0, 3, SIDE, SIDE]


def misalign(request: Request) -> None:
    request.inputs[1].shape[:] = [2, 9]
    request.raw_input_contents[1] = request.raw_input_contents[1][: 2 * 9 * 4]


def share_memory(request: Request) -> None:
    request.inputs[0].parameters["shared_memory_region"].string_param = "region"


def ask_twice(request: Request) -> None:
    request.outputs.extend([Request.InferRequestedOutputTensor(name="score")] * 2)


def ask_unknown(request: Request) -> None:
    request.outputs.add(name="logits")


def classify(request: Request) -> None:
    request.outputs.add(name="score").parameters["classification"].int64_param = 3


def parameter(name: str, **choice: Any) -> Mutate:
    return lambda request: request.parameters[name].MergeFrom(protocol.InferParameter(**choice))


def pin(request: Request) -> None:
    request.model_version = "../1"


BAD: list[tuple[Mutate, str, str]] = [
    (rename, "inputs[0].name", "one of maps, geometry, anchors"),
    (repeat, "inputs[1].name", "each once"),
    (lose_geometry, "inputs", "with maps, geometry"),
    (lose_contents, "raw_input_contents", "3, one per input"),
    (lose_all_contents, "inputs[0].contents.fp32_contents", "5184 values for maps of shape [3, 3, 24, 24]"),
    (cut, "raw_input_contents[0]", "20736 bytes for maps of shape [3, 3, 24, 24]"),
    (both, "inputs[1].contents", "unset where raw_input_contents are used"),
    (mistype, "inputs[0].contents.int_contents", "fp32_contents"),
    (halve, "inputs[0].datatype", "FP32 for maps"),
    (flatten, "inputs[0].shape", "[at least 1, 3, 24, 24] for maps"),
    (shrink_side, "inputs[0].shape", "[at least 1, 3, 24, 24] for maps"),
    (turn_negative, "inputs[0].shape", "[at least 1, 3, 24, 24] for maps"),
    (empty, "inputs[0].shape", "[at least 1, 3, 24, 24] for maps"),
    (misalign, "inputs[1].shape", "3 rows for geometry"),
    (share_memory, "inputs[0].parameters", "no shared memory"),
    (poke("maps", (2, 0, 4, 5), NAN), "inputs[0]", "depth within +-2"),
    (poke("maps", (0, 1, 0, 0), 1.5), "inputs[0]", "the others in [0, 1]"),
    (poke("geometry", (1, 3), -INFINITY), "inputs[1]", "finite, within +-100"),
    (poke("anchors", (0, 2), 901.0), "inputs[2]", "within +-900 m"),
    (poke("anchors", (0, 3), NAN), "inputs[2]", "bearing within +-2 pi"),
    (ask_twice, "outputs[1].name", "asked for once"),
    (ask_unknown, "outputs[0].name", "one of score, score_standard_error"),
    (classify, "outputs[0].parameters", "empty"),
    (parameter("temperature", double_param=2.0), "parameters", "one of seed, mc_samples, acquisition, timeout"),
    (parameter("seed", int64_param=-1), "parameters.seed", "0 to 2^64 - 1"),
    (parameter("seed", string_param="5"), "parameters.seed", "an integer"),
    (parameter("seed"), "parameters.seed", "an integer"),
    (parameter("mc_samples", int64_param=1), "parameters.mc_samples", "2 to 200, or 0 for no dropout"),
    (parameter("mc_samples", int64_param=201), "parameters.mc_samples", "2 to 200"),
    (parameter("mc_samples", bool_param=True), "parameters.mc_samples", "an integer"),
    (parameter("acquisition", string_param="bald"), "parameters.acquisition", "one of predictive_entropy"),
    (parameter("acquisition", string_param="tightness"), "parameters.acquisition", "one of predictive_entropy"),
    (parameter("acquisition", int64_param=1), "parameters.acquisition", "a text"),
    (parameter("timeout", int64_param=0), "parameters.timeout", "microseconds"),
    (pin, "model_version", "1 to 128 characters"),
]


@pytest.mark.parametrize(("mutate", "field", "bound"), BAD)
def test_bad_requests_are_refused_naming_field_value_and_bound(
    service: ScoringService, rasters: Callable[[int], Rasters], mutate: Mutate, field: str, bound: str
) -> None:
    request = infer_request(tensors(rasters(3)))
    mutate(request)
    status, error = refused(service, "ModelInfer", request)
    assert status == "INVALID_ARGUMENT"
    (violation,) = error.violations
    assert violation.field == field
    assert violation.value
    assert bound in violation.bound


def test_a_value_that_is_not_finite_is_named_with_its_place(service: ScoringService, rasters: Callable[[int], Rasters]) -> None:
    request = infer_request(tensors(rasters(3)))
    poke("maps", (2, 0, 4, 5), NAN)(request)
    assert refused(service, "ModelInfer", request)[1].violations[0].value == "nan at [2, 0, 4, 5]"


@pytest.mark.parametrize("name", ["resnet", "member-", "member-3", "member-01", "member--1", "member-99999", "Ensemble", ""])
@pytest.mark.parametrize("method", ["ModelReady", "ModelMetadata", "ModelInfer"])
def test_a_model_that_there_is_not_is_not_found(
    service: ScoringService, rasters: Callable[[int], Rasters], method: str, name: str
) -> None:
    requests = {
        "ModelReady": protocol.ModelReadyRequest(name=name),
        "ModelMetadata": protocol.ModelMetadataRequest(name=name),
        "ModelInfer": infer_request(tensors(rasters(1)), name),
    }
    status, error = refused(service, method, requests[method])
    assert status == "NOT_FOUND"
    (violation,) = error.violations
    assert (violation.field, violation.value) == ("model_name" if method == "ModelInfer" else "name", repr(name))
    assert "one of ensemble, mc_dropout, escalate, member-" in violation.bound


def test_a_generation_that_is_not_resident_is_a_failed_precondition(
    service: ScoringService, rasters: Callable[[int], Rasters]
) -> None:
    elsewhere = "g000099-00000000"
    for method, request in (
        ("ModelMetadata", protocol.ModelMetadataRequest(name="ensemble", version=elsewhere)),
        ("ModelInfer", infer_request(tensors(rasters(1)), version=elsewhere)),
    ):
        status, error = refused(service, method, request)
        assert (status, error.reason) == ("FAILED_PRECONDITION", error_pb2.ERROR_REASON_GENERATION_NOT_RESIDENT)


def test_more_crops_than_a_request_may_carry_are_refused(service: ScoringService, rasters: Callable[[int], Rasters]) -> None:
    status, error = refused(service, "ModelInfer", infer_request(tensors(rasters(31))))
    assert status == "RESOURCE_EXHAUSTED"
    (violation,) = error.violations
    assert (violation.field, violation.value, violation.bound) == ("inputs[0].shape", "31 crops", "at most 30 crops")


def test_a_timeout_that_passes_before_the_work_is_begun(service: ScoringService, rasters: Callable[[int], Rasters]) -> None:
    status, _ = refused(service, "ModelInfer", infer_request(tensors(rasters(1)), timeout=1))
    assert status == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize(
    ("model", "mutate", "field"),
    [
        ("member-0", parameter("acquisition", string_param="mutual_information"), "parameters.acquisition"),
        ("member-0", parameter("mc_samples", int64_param=20), "parameters"),
        ("member-0", parameter("seed", int64_param=1), "parameters"),
        ("mc_dropout", parameter("mc_samples", int64_param=0), "parameters.mc_samples"),
        ("ensemble", parameter("escalate_share", double_param=0.5), "parameters"),
        ("escalate", parameter("mc_samples", int64_param=0), "parameters.mc_samples"),
        ("escalate", parameter("escalate_share", double_param=0.0), "parameters.escalate_share"),
        ("escalate", parameter("escalate_share", double_param=NAN), "parameters.escalate_share"),
        ("escalate", parameter("escalate_share", int64_param=2), "parameters.escalate_share"),
        ("escalate", parameter("escalate_share", string_param="0.5"), "parameters.escalate_share"),
        ("escalate", lambda request: request.parameters["escalate_share"], "parameters.escalate_share"),
        ("ensemble", lambda request: request.outputs.add(name="escalated"), "outputs[0].name"),
    ],
)
def test_what_a_model_cannot_do_is_refused(
    service: ScoringService, rasters: Callable[[int], Rasters], model: str, mutate: Mutate, field: str
) -> None:
    request = infer_request(tensors(rasters(1)), model)
    mutate(request)
    status, error = refused(service, "ModelInfer", request)
    assert (status, error.violations[0].field) == ("INVALID_ARGUMENT", field)


def test_an_ensemble_of_one_member_without_dropout_has_nothing_to_disagree(
    tmp_path: Path, generation: Artefacts, rasters: Callable[[int], Rasters]
) -> None:
    files = {"member-0.onnx": generation.manifest.files["member-0.onnx"]}
    lone = Artefacts(generation.manifest.model_copy(update={"files": files}), generation.members[:1])
    service = ScoringService(tmp_path, lone)
    service.start()
    try:
        service.promote(service.register())
        request = infer_request(tensors(rasters(1)), mc_samples=0)
        status, error = refused(service, "ModelInfer", request)
        assert (status, error.violations[0].field) == ("INVALID_ARGUMENT", "parameters.acquisition")
        request.parameters["acquisition"].string_param = "predictive_entropy"
        stub = OpenInference(service.target, service.token)
        assert "epistemic_variance" not in output_values(stub.call("ModelInfer", request))
        request.outputs.add(name="epistemic_variance")
        status, error = refused(service, "ModelInfer", request)
        assert (status, error.violations[0].field) == ("INVALID_ARGUMENT", "outputs[0].name")
    finally:
        service.stop()


def test_every_acquisition_of_a_crop_by_itself_is_served(service: ScoringService, rasters: Callable[[int], Rasters]) -> None:
    assert set(SERVED) == set(Acquisition) - {Acquisition.TIGHTNESS, Acquisition.STABILITY}
    stub = OpenInference(service.target, service.token)
    for acquisition in SERVED:
        response = stub.infer(tensors(rasters(2)), outputs=["score"], acquisition=str(acquisition))
        assert (output_values(response)["score"] >= 0).all()


def mutated(data: bytes, edits: list[tuple[int, int]]) -> bytes:
    """Return the message with bytes replaced."""
    changed = bytearray(data)
    for place, value in edits:
        changed[place % len(changed)] = value
    return bytes(changed)


@settings(max_examples=200, derandomize=True)
@given(edits=st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=6), head=st.booleans())
def test_a_mutated_request_is_refused_or_answered(
    service: ScoringService, rasters: Callable[[int], Rasters], edits: list[tuple[int, int]], head: bool
) -> None:
    request = infer_request(tensors(rasters(1)), seed=3, mc_samples=2)
    # most bytes are values: half of the changes are to names, types and shapes
    contents = list(request.raw_input_contents)
    del request.raw_input_contents[:]
    reach = request.ByteSize() if head else 1 << 16
    request.raw_input_contents.extend(contents)
    data = mutated(request.SerializeToString(), [(place % reach, value) for place, value in edits])
    with grpc.insecure_channel(service.target) as channel:
        call: Any = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        try:
            answer = call(data, metadata=(("authorization", f"Bearer {service.token}"),), timeout=30)
        except grpc.RpcError as error:
            failure: Any = error
            allowed = ("INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED")
            assert failure.code().name in allowed or undecodable(data)
        else:
            found = output_values(protocol.ModelInferResponse.FromString(answer))
            assert all(np.isfinite(values).all() for values in found.values())


def undecodable(data: bytes) -> bool:
    """Return whether gRPC itself refuses the message before it reaches anybody."""
    try:
        Request.FromString(data)
    except Exception:
        return True
    return False
