"""Where the detector runs."""

from enum import StrEnum


class Provider(StrEnum):
    """ONNX Runtime's execution provider."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
