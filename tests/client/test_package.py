import subprocess
import sys
import tomllib
from collections.abc import AsyncGenerator, Generator
from importlib import metadata
from pathlib import Path
from typing import assert_type

import pytest
from packaging.requirements import Requirement

import quandary
from quandary.v1 import queue_pb2, scoring_pb2, training_pb2

ROOT = Path(__file__).resolve().parents[2]

PUBLIC = """
    BACKGROUND BOX_GROWTH CLASSES LABEL_CLASSES
    Aborted Acquisition AsyncLabellingClient AsyncLeasedTask AsyncScoringClient AsyncTrainingClient Box3D Calibration Cancelled
    CorruptArtefact DeadlineExceeded EgoPose Estimator FailedPrecondition Frame FrameLabels FrameRecord GateRefused
    GenerationNotResident ImageBox Internal InvalidArgument Label LabellingClient LeasedTask MeaninglessRequest NoGeneration
    NonFiniteOutput NotFound NotServedYet Overloaded PermissionDenied PointerMoved Proposal QuandaryError Reduction
    ResourceExhausted ScoringClient ScoringOptions StaleLease TooLarge TooLittleData TrainingClient Unauthenticated Unavailable
    Violation WrongState crop_frusta result_score tls_credentials
"""


def in_fresh_process(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_the_public_names_are_these() -> None:
    assert sorted(quandary.__all__) == sorted(PUBLIC.split())


@pytest.mark.parametrize("name", PUBLIC.split())
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(quandary, name) is not None
    assert name in dir(quandary)


def test_a_misspelt_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="ScoreClient"):
        quandary.ScoreClient  # type: ignore[attr-defined] # noqa: B018


def test_every_error_is_public() -> None:
    from quandary import errors

    assert set(errors.__all__) - {"within"} <= set(quandary.__all__)


def test_the_import_loads_nothing_heavy() -> None:
    heavy = ["ray", "torch", "scipy", "onnxruntime", "pydantic", "sqlalchemy", "quandary_server"]
    everything = "import quandary; [getattr(quandary, name) for name in quandary.__all__]"
    assert (
        in_fresh_process(f"{everything}; import sys; print([name for name in {heavy} if name in sys.modules])").strip() == "[]"
    )


@pytest.mark.parametrize(
    "module", ["quandary", "quandary.geometry", "quandary.frustum", "quandary.records", "quandary.options"]
)
def test_the_domain_is_imported_without_grpc_and_protobuf(module: str) -> None:
    code = f"import {module}, sys; print([name for name in ('grpc', 'google.protobuf') if name in sys.modules])"
    assert in_fresh_process(code).strip() == "[]"


@pytest.mark.parametrize("module", ["quandary.convert", "quandary.error_messages", "quandary.option_messages"])
def test_the_messages_are_imported_without_grpc(module: str) -> None:
    assert in_fresh_process(f"import {module}, sys; print('grpc' in sys.modules)").strip() == "False"


def test_the_base_install_pulls_three_libraries() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    installed = [Requirement(text) for text in metadata.requires("quandary") or []]
    assert {Requirement(text).name for text in project["dependencies"]} == {"grpcio", "protobuf", "numpy"}
    assert {found.name for found in installed if "extra" not in str(found.marker)} == {"grpcio", "protobuf", "numpy"}


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(quandary.__file__).parent / "py.typed").is_file()


async def check_types_of_calls(  # read by mypy, run by nobody
    scoring: quandary.ScoringClient,
    async_scoring: quandary.AsyncScoringClient,
    labelling: quandary.LabellingClient,
    async_labelling: quandary.AsyncLabellingClient,
    async_training: quandary.AsyncTrainingClient,
    leased: quandary.LeasedTask,
    async_leased: quandary.AsyncLeasedTask,
) -> None:
    assert_type(scoring.score_frames([]), scoring_pb2.ScoreFramesResponse)
    assert_type(await async_scoring.score_frames([]), scoring_pb2.ScoreFramesResponse)
    assert_type(labelling.list_tasks(), Generator[queue_pb2.Task, None, None])
    assert_type(async_labelling.list_tasks(), AsyncGenerator[queue_pb2.Task, None])
    assert_type(async_training.watch_run("run-1"), AsyncGenerator[training_pb2.Run, None])
    assert_type(leased.acknowledge([]), queue_pb2.Task)
    assert_type(await async_leased.acknowledge([]), queue_pb2.Task)
    scoring.score_frames([], window=3)  # type: ignore[call-arg]
    labelling.get_task(3)  # type: ignore[arg-type]
