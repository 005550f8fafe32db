"""What a process lacks to compute on a GPU; and which device is taken for a provider that was asked for."""

import contextlib
import ctypes
import io
import logging
import os
from functools import cache

import onnxruntime

from quandary.errors import InvalidArgument
from quandary_server.inference.device import DEVICE_CROPS, Bound, Device, Host
from quandary_server.inference.provider import Provider
from quandary_server.inference.session import CUDA, open_session

log = logging.getLogger(__name__)

VISIBLE = "CUDA_VISIBLE_DEVICES"
DRIVER = "libcuda.so.1"


def open_device(provider: Provider, crops_per_run: int = DEVICE_CROPS, *, gpu_reserved: bool = True) -> Device:
    """Return the device of a provider: AUTO is CUDA where a GPU was reserved for this process and can be had, else the CPU.

    crops_per_run: of every run on a GPU. Which was taken, and why, is logged. Raises InvalidArgument, naming what is missing,
    where CUDA is asked for by name and cannot be had.
    """
    if provider is Provider.CPU:
        return Host()
    problem = cuda_problem() if gpu_reserved else "replica_gpus is 0: no GPU is reserved for this process"
    if problem is None:
        log.info("device_chosen provider=cuda asked=%s crops_per_run=%d", provider, crops_per_run)
        return Bound(crops_per_run)
    if provider is Provider.CUDA:
        raise InvalidArgument.of("provider", provider.value, f"auto or cpu: {problem}")
    # where there is no GPU at all that is what was to be expected
    idle = gpu_reserved or (not _hidden() and _driver_problem() is None)
    log.log(logging.WARNING if idle else logging.INFO, "device_chosen provider=cpu asked=auto reason=%r", problem)
    return Host()


def cuda_problem() -> str | None:
    """Return what this process lacks for ONNX Runtime's CUDA provider, None where it has all."""
    if CUDA not in onnxruntime.get_available_providers():
        return f"this {onnxruntime.package_name} {onnxruntime.__version__} has no {CUDA}; it needs onnxruntime-gpu"
    if _hidden():
        return f"{VISIBLE}={os.environ[VISIBLE]!r} hides all GPUs from this process"
    return _driver_problem() or _session_problem()


def gpu() -> tuple[str, int]:
    """Return the name and the bytes of the first GPU that this process sees; only where `cuda_problem` finds none."""
    driver, device, size = ctypes.CDLL(DRIVER), ctypes.c_int(), ctypes.c_size_t()
    name = ctypes.create_string_buffer(256)
    driver.cuDeviceGet(ctypes.byref(device), 0)
    driver.cuDeviceGetName(name, len(name), device)
    driver.cuDeviceTotalMem_v2(ctypes.byref(size), device)
    return name.value.decode(), size.value


def _hidden() -> bool:
    return os.environ.get(VISIBLE, "all").strip() in ("", "-1")


@cache
def _driver_problem() -> str | None:
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return f"{DRIVER}, the NVIDIA driver, is not on this machine"
    if code := driver.cuInit(0):
        return f"the NVIDIA driver finds no usable GPU (cuInit: {code})"
    count = ctypes.c_int()
    if (code := driver.cuDeviceGetCount(ctypes.byref(count))) or not count.value:
        return f"the NVIDIA driver finds {count.value} GPUs (cuDeviceGetCount: {code})"
    return None


@cache
def _session_problem() -> str | None:
    """Return why the provider does not open, found by opening a session: its libraries may be missing, or too old."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        # those that pip installed (as PyTorch's CUDA builds do) are in no folder that the loader searches
        onnxruntime.preload_dlls()
    try:
        open_session(_smallest_model(), Provider.CUDA)
    except Exception as error:
        # ONNX Runtime's exceptions share no base but Exception
        return "; ".join([f"its libraries do not load ({error})", *said.getvalue().splitlines()])
    return None


def _smallest_model() -> bytes:
    """Return the ONNX model of the identity."""
    from onnx import TensorProto, helper  # wanted on machines with a GPU alone

    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "identity", values[:1], values[1:])
    opset = helper.make_opsetid("", 17)
    return bytes(helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString())
