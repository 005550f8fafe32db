"""The generated code is that of the protos, and the contract keeps its own rules."""

import importlib.util
import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
from google.protobuf.descriptor import FieldDescriptor, FileDescriptor, MethodDescriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from ray.serve.generated import serve_pb2

from quandary.v1 import (
    error_pb2,
    fleet_log_pb2,
    geometry_pb2,
    labels_pb2,
    queue_pb2,
    scoring_pb2,
    training_pb2,
    view_pb2,
)
from quandary_server.wire.inference_v2 import open_inference_pb2

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ["clients/quandary/v1", "services/quandary_server/wire/inference_v2"]
FILES: list[FileDescriptor] = [
    module.DESCRIPTOR
    for module in (
        error_pb2,
        fleet_log_pb2,
        geometry_pb2,
        labels_pb2,
        queue_pb2,
        scoring_pb2,
        training_pb2,
        view_pb2,
    )
]
METHODS: list[MethodDescriptor] = [
    method for file in FILES for service in file.services_by_name.values() for method in service.methods
]


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "protos" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_code_is_fresh(tmp_path: Path) -> None:
    generate = generator()
    try:
        generate.generator_python()
    except subprocess.CalledProcessError:
        pytest.skip("the generator's environment could not be made (no package index): freshness is not checked")
    generate.generate(tmp_path)
    for folder in GENERATED:
        made = {path.name: path.read_text() for path in (tmp_path / folder).iterdir()}
        committed = [path for path in (ROOT / folder).iterdir() if path.is_file() and path.name != "__init__.py"]
        there = {path.name: path.read_text() for path in committed}
        assert sorted(made) == sorted(there)
        stale = [name for name in made if made[name] != there[name]]
        assert stale == [], "run: python3 protos/generate.py"


def test_no_two_calls_share_a_name() -> None:
    """Serve's ingress dispatches by the last segment of the path; scoring's port has other people's services, too."""
    others = [
        open_inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"],
        health_pb2.DESCRIPTOR.services_by_name["Health"],
        reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"],
        serve_pb2.DESCRIPTOR.services_by_name["RayServeAPIService"],
    ]
    names = [method.name for method in METHODS] + [method.name for service in others for method in service.methods]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_call_has_its_own_request_and_response(method: MethodDescriptor) -> None:
    assert method.input_type.name == f"{method.name}Request"
    assert method.output_type.name == f"{method.name}Response"


def fields() -> list[FieldDescriptor]:
    return [field for file in FILES for message in file.message_types_by_name.values() for field in message.fields]


def test_numbers_with_a_unit_carry_it_in_their_name() -> None:
    measured = re.compile(r"(^|_)(x|y|z|length|width|height|left|right|top(?!_k)|bottom|yaw|entropy)(_|$)")
    unit = re.compile(r"_(m|px|rad|nats|variance|seconds|bytes)$")
    kinds = (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_INT32)
    bare = [f.full_name for f in fields() if f.type in kinds and measured.search(f.name) and not unit.search(f.name)]
    assert bare == []


def test_every_service_states_its_failures() -> None:
    for path in (ROOT / "protos" / "quandary" / "v1").glob("*.proto"):
        text = path.read_text()
        for service in re.finditer(r"((?://.*\n)+)service \w+", text):
            assert {"INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED"} <= set(re.findall(r"[A-Z_]{6,}", service[1]))


def test_every_reason_names_a_status() -> None:
    text = (ROOT / "protos" / "quandary" / "v1" / "error.proto").read_text()
    reasons = re.findall(r"((?://.*\n\s*)+)ERROR_REASON_(\w+) = \d+", text)
    assert len(reasons) == len(error_pb2.ErrorReason.keys())
    for comment, name in reasons:
        assert name == "UNSPECIFIED" or re.search(r"\b[A-Z][A-Z_]{5,}\.", comment), name
