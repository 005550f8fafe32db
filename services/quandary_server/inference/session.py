"""ONNX Runtime sessions, one thread each."""

import ctypes

import onnxruntime

from quandary_server.inference.provider import Provider

INPUTS = ("maps", "geometry", "mask_in", "mask_hidden")
OUTPUTS = ("logits", "box", "box_log_variance", "embedding")


_EXECUTION_PROVIDERS = {Provider.CPU: "CPUExecutionProvider", Provider.CUDA: "CUDAExecutionProvider"}


def open_session(model: bytes, provider: Provider = Provider.AUTO) -> onnxruntime.InferenceSession:
    """Return a session for an ONNX model's bytes.

    AUTO takes CUDA where a driver and the provider are there, else the CPU. Raises RuntimeError where CUDA is asked for by name
    and cannot be had.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    chosen = resolve(provider)
    session = onnxruntime.InferenceSession(model, options, providers=[_EXECUTION_PROVIDERS[chosen]])
    if session.get_providers()[0] != _EXECUTION_PROVIDERS[chosen]:
        raise RuntimeError(f"provider {chosen} was asked for and ONNX Runtime fell back to {session.get_providers()[0]}")
    return session


def resolve(provider: Provider) -> Provider:
    """Return the provider itself, or what AUTO means on this machine."""
    if provider is not Provider.AUTO:
        return provider
    offered = _EXECUTION_PROVIDERS[Provider.CUDA] in onnxruntime.get_available_providers()
    return Provider.CUDA if offered and _driver_present() else Provider.CPU


def _driver_present() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True
