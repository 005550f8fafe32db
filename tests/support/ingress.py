"""What clients that are not ours get through Serve's ingress."""

import warnings
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from quandary import Frame, result_score
from quandary.error_messages import ERROR_TRAILER
from quandary.v1 import error_pb2
from quandary_server.wire.inference_v2 import open_inference_pb2 as protocol
from support.open_inference import (
    STOCK_REFUSALS,
    OpenInference,
    output_values,
    raster_frame,
    run_stock_client,
    stock_python,
    tensors,
)
from support.quandary import Quandary


def check_open_inference(quandary: Quandary, frame: Frame, folder: Path) -> None:
    """A client of the Open Inference Protocol, ours or a stock one, gets the figures of ScoreFrames, and errors with fields."""
    target = quandary.settings.scoring_target
    with quandary.scoring() as client:
        score = result_score(client.score_frames([frame]).results[0])
    crops, stub = raster_frame(frame), OpenInference(target, quandary.token)
    expected = [found.score for found in score.objects]
    assert output_values(stub.infer(tensors(crops)))["score"].tolist() == expected
    assert OpenInference(target, token="").call("ServerReady", protocol.ServerReadyRequest()).ready
    with pytest.raises(grpc.RpcError) as caught:
        stub.infer(tensors(crops), "resnet")
    failure: Any = caught.value
    assert failure.code() == grpc.StatusCode.NOT_FOUND
    error = error_pb2.Error.FromString(dict(failure.trailing_metadata())[ERROR_TRAILER])
    assert error.violations[0].field == "model_name"

    python = stock_python()
    if python is None:
        warnings.warn("no package index: the stock client was not run through the ingress", stacklevel=1)
        return
    stock = run_stock_client(python, folder, target, quandary.token, crops)
    assert stock.outputs["everything"]["score"].tolist() == expected
    assert stock.told["live"]
    assert stock.told["ready"]
    assert stock.told["models_ready"] == [True] * 4
    assert stock.refusals == STOCK_REFUSALS


def check_reflection(target: str) -> None:
    """A stock reflection client finds every service, and what a method takes."""
    with grpc.insecure_channel(target) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        services = {"quandary.v1.ScoringService", "inference.GRPCInferenceService", "grpc.health.v1.Health"}
        assert services <= set(database.get_services())
        pool = DescriptorPool(database)
        for service, method, request in (
            ("inference.GRPCInferenceService", "ModelInfer", "inference.ModelInferRequest"),
            ("quandary.v1.ScoringService", "ScoreFrames", "quandary.v1.ScoreFramesRequest"),
        ):
            assert pool.FindServiceByName(service).FindMethodByName(method).input_type.full_name == request
