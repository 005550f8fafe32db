"""ONNX Runtime sessions, one thread each."""

import onnxruntime

from quandary_server.inference.provider import Provider

INPUTS = ("maps", "geometry", "mask_in", "mask_hidden")
OUTPUTS = ("logits", "box", "box_log_variance", "embedding")

CUDA = "CUDAExecutionProvider"

_EXECUTION_PROVIDERS = {
    Provider.CPU: ("CPUExecutionProvider", {}),
    Provider.CUDA: (
        CUDA,
        {
            # Ray shows a process the device it reserved as the first
            "device_id": 0,
            # an exhaustive search times kernels: it takes long for every shape, and may choose others in each process
            "cudnn_conv_algo_search": "HEURISTIC",
            # rounds the products of convolutions to 10 bits
            "use_tf32": 0,
            # members of several generations, and replicas, share a device
            "arena_extend_strategy": "kSameAsRequested",
        },
    ),
}


def open_session(model: bytes, provider: Provider) -> onnxruntime.InferenceSession:
    """Return a session for an ONNX model's bytes; raises RuntimeError where ONNX Runtime would fall back to the CPU.

    AUTO is what `device.open_device` resolves, and no provider of a session: ValueError.
    """
    if provider is Provider.AUTO:
        raise ValueError("a session is opened for the CPU or for CUDA")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = provider is Provider.CUDA
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    name, settings = _EXECUTION_PROVIDERS[provider]
    session = onnxruntime.InferenceSession(model, options, providers=[(name, settings)])
    if session.get_providers()[0] != name:
        raise RuntimeError(f"provider {provider} was asked for and ONNX Runtime fell back to {session.get_providers()[0]}")
    return session
