"""A stock client of the Open Inference Protocol, from the package index, in a process and an environment of its own."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.environments import ROOT
from support.open_inference import (
    STOCK_REFUSALS,
    OpenInference,
    output_values,
    run_stock_client,
    stock_python,
    tensors,
)

from quandary_server.frustum.raster import Rasters
from quandary_server.scoring.open_inference.outputs import OUTPUTS
from quandary_server.wire.inference_v2 import open_inference_pb2 as protocol

PRELUDE = """
import sys
import numpy as np
from quandary import Calibration, Frame, ImageBox, Proposal

projection = np.array([[700.0, 0.0, 600.0, 0.0], [0.0, 700.0, 200.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
lidar_to_camera = np.array([[0.0, -1.0, 0.0, 0.0], [0.0, 0.0, -1.0, -0.1], [1.0, 0.0, 0.0, 0.3]])
points = np.random.default_rng(1).uniform([5, -20, -2, 0], [60, 20, 2, 1], (2000, 4)).astype(np.float32)
boxes = [ImageBox(200.0, 100.0, 300.0, 200.0), ImageBox(500.0, 150.0, 640.0, 260.0)]
calibration = Calibration(projection, lidar_to_camera, 1200, 400)
frame = Frame("a", calibration, [Proposal(box) for box in boxes], points=points)
token = sys.argv[1]
"""


@pytest.fixture(scope="module")
def python() -> Path:
    python = stock_python()
    if python is None:
        pytest.skip("the stock client's environment could not be made (no package index)")
    return python


def test_the_runbooks_example_runs_as_it_stands(service: Any, python: Path) -> None:
    text = (ROOT / "deploy" / "README.md").read_text()
    (example,) = re.findall(r"```python\n(import tritonclient.*?)```", text, re.DOTALL)
    script = PRELUDE + example.replace("127.0.0.1:9700", service.target)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "clients"), str(ROOT / "services")])}
    command = [python, "-c", script, service.token]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=120)
    assert re.fullmatch(rf"{service.keeper.generation().id} \[\S+ \S+\]\n", done.stdout)


def test_it_gets_what_our_own_stubs_get(
    calibrated: Any, rasters: Callable[[int], Rasters], python: Path, tmp_path: Path
) -> None:
    answers = run_stock_client(python, tmp_path, calibrated.target, calibrated.token, rasters(5))
    stub, crops = OpenInference(calibrated.target, calibrated.token), tensors(rasters(5))
    asked = stub.infer(crops, "mc_dropout", outputs=["box", "score"], seed=5, mc_samples=7, acquisition="mutual_information")
    escalated = stub.infer(crops, "escalate", outputs=["escalated", "score"], mc_samples=8, escalate_share=0.5)
    ours = {
        "everything": stub.infer(crops),
        "asked": asked,
        "escalated": escalated,
        "pinned": stub.infer(crops, "member-0"),
    }
    for name, response in ours.items():
        expected, found = output_values(response), answers.outputs[name]
        assert set(found) == set(expected)
        assert all(found[output].tobytes() == expected[output].tobytes() for output in expected), name
    assert set(answers.outputs["asked"]) == {"box", "score"}
    assert answers.outputs["escalated"]["escalated"].dtype == bool

    told = answers.told
    assert told["live"]
    assert told["ready"]
    assert told["models_ready"] == [True] * 4
    assert told["server"]["name"] == "quandary"
    assert told["metadata"]["versions"] == [generation.id for generation in calibrated.keeper.resident]
    assert [output["name"] for output in told["metadata"]["outputs"]] == [output.name for output in OUTPUTS]
    assert answers.refusals == STOCK_REFUSALS
    assert told["refused"][3][1].startswith("outputs[0].name is 'logits', must be one of score")
    check_protocol(told["descriptors"])


def check_protocol(theirs: dict[str, list[list[Any]]]) -> None:
    """Every message, field, number, type and method of ours is one of the protocol as the stock client knows it."""
    service = protocol.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    for method in service.methods:
        assert [method.name, method.input_type.full_name, method.output_type.full_name, ""] in theirs[service.full_name]
    waiting = list(protocol.DESCRIPTOR.message_types_by_name.values())
    while waiting:
        message = waiting.pop()
        waiting += message.nested_types
        for field in message.fields:
            kind = field.message_type.full_name if field.message_type else ""
            assert [field.name, field.number, field.type, kind] in theirs[message.full_name]
