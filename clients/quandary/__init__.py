"""Quandary: which LiDAR frames is the detector unsure about, and which should be labelled first.

The domain and its errors come with the package; the clients, and with them gRPC, are imported when they are first named.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from quandary.errors import (
    Aborted,
    Cancelled,
    CorruptArtefact,
    DeadlineExceeded,
    FailedPrecondition,
    GateRefused,
    GenerationNotResident,
    Internal,
    InvalidArgument,
    MeaninglessRequest,
    NoGeneration,
    NonFiniteOutput,
    NotFound,
    NotServedYet,
    Overloaded,
    PermissionDenied,
    PointerMoved,
    QuandaryError,
    ResourceExhausted,
    StaleLease,
    TooLarge,
    TooLittleData,
    Unauthenticated,
    Unavailable,
    Violation,
    WrongState,
)
from quandary.frames import Frame, Proposal
from quandary.frustum import BOX_GROWTH, crop_frusta
from quandary.geometry import Box3D, Calibration, ImageBox
from quandary.labels import BACKGROUND, CLASSES, LABEL_CLASSES, FrameLabels, Label
from quandary.options import Acquisition, Estimator, Reduction, ScoringOptions
from quandary.records import EgoPose, FrameRecord

if TYPE_CHECKING:
    from quandary.connection import tls_credentials
    from quandary.error_messages import result_score
    from quandary.labelling import AsyncLabellingClient, LabellingClient
    from quandary.leases import AsyncLeasedTask, LeasedTask
    from quandary.scoring import AsyncScoringClient, ScoringClient
    from quandary.training import AsyncTrainingClient, TrainingClient

__all__ = [
    "BACKGROUND",
    "BOX_GROWTH",
    "CLASSES",
    "LABEL_CLASSES",
    "Aborted",
    "Acquisition",
    "AsyncLabellingClient",
    "AsyncLeasedTask",
    "AsyncScoringClient",
    "AsyncTrainingClient",
    "Box3D",
    "Calibration",
    "Cancelled",
    "CorruptArtefact",
    "DeadlineExceeded",
    "EgoPose",
    "Estimator",
    "FailedPrecondition",
    "Frame",
    "FrameLabels",
    "FrameRecord",
    "GateRefused",
    "GenerationNotResident",
    "ImageBox",
    "Internal",
    "InvalidArgument",
    "Label",
    "LabellingClient",
    "LeasedTask",
    "MeaninglessRequest",
    "NoGeneration",
    "NonFiniteOutput",
    "NotFound",
    "NotServedYet",
    "Overloaded",
    "PermissionDenied",
    "PointerMoved",
    "Proposal",
    "QuandaryError",
    "Reduction",
    "ResourceExhausted",
    "ScoringClient",
    "ScoringOptions",
    "StaleLease",
    "TooLarge",
    "TooLittleData",
    "TrainingClient",
    "Unauthenticated",
    "Unavailable",
    "Violation",
    "WrongState",
    "crop_frusta",
    "result_score",
    "tls_credentials",
]

_NAMED_LATER = {
    "AsyncLabellingClient": "quandary.labelling",
    "AsyncLeasedTask": "quandary.leases",
    "AsyncScoringClient": "quandary.scoring",
    "AsyncTrainingClient": "quandary.training",
    "LabellingClient": "quandary.labelling",
    "LeasedTask": "quandary.leases",
    "ScoringClient": "quandary.scoring",
    "TrainingClient": "quandary.training",
    "result_score": "quandary.error_messages",
    "tls_credentials": "quandary.connection",
}

if not TYPE_CHECKING:  # to a type checker it would make every misspelt name an attribute

    def __getattr__(name: str) -> object:
        if name not in _NAMED_LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(_NAMED_LATER[name]), name)
        return found

    def __dir__() -> list[str]:
        return __all__
