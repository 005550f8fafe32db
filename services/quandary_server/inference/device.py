"""Where nets compute: the one place that knows whether that is this process's memory or a device of its own.

On the host a run is what it was asked for. On a device the crops of a draw are placed once for all members, masks stay there,
what the trunk finds never leaves it, and only draws come back. Every run on a device has the same number of crops, the last
ones blank: which kernels compute an answer, and so its bits, then does not hang on how many others were asked for with it.
"""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession, OrtValue

from quandary_server.inference.masks import CACHED, Masks
from quandary_server.inference.provider import Provider
from quandary_server.inference.session import INPUTS, OUTPUTS, open_session

CROPS_PER_RUN = 64
"""On the host larger batches save nothing and hold more memory."""

DEVICE_CROPS = 128
"""Of every run on a device, unless settings say otherwise."""

Floats = NDArray[np.float32]
Value = TypeVar("Value")


@dataclass(frozen=True)
class Run(Generic[Value]):
    """Crops that a net takes in one go, where it computes: maps and geometry, and how many of them are no filling."""

    maps: Value
    geometry: Value
    crops: int


class Net(ABC):
    """A net where it computes. One thread at a time may run it."""

    @abstractmethod
    def run(self, crops: Run[Any], masks: Masks) -> list[Floats]:
        """Return OUTPUTS for the crops of a run under T masks, without its filling, in the host's memory."""


class Device(ABC):
    """A place where nets compute; it holds nothing that changes, so threads may share it.

    batches: whether many crops at once take it less time than some after the others.
    """

    batches: bool

    @abstractmethod
    def open(self, model: bytes) -> Net:
        """Return the net of an ONNX model's bytes."""

    @abstractmethod
    def place(self, maps: Floats, geometry: Floats) -> Sequence[Run[Any]]:
        """Return D crops, maps (D, 3, side, side) and geometry (D, G), as runs of any net opened here."""


class Host(Device):
    """The CPU, in the process's own memory."""

    batches = False

    def open(self, model: bytes) -> Net:
        """Return the net of an ONNX model's bytes."""
        return _HostNet(open_session(model, Provider.CPU))

    def place(self, maps: Floats, geometry: Floats) -> list[Run[Floats]]:
        """Return D crops as runs of at most CROPS_PER_RUN, without a copy."""
        return [Run(maps[part], geometry[part], part.stop - part.start) for part in crop_slices(len(maps), CROPS_PER_RUN)]


class _HostNet(Net):
    def __init__(self, session: InferenceSession) -> None:
        self._session = session

    def run(self, crops: Run[Floats], masks: Masks) -> list[Floats]:
        inputs = dict(zip(INPUTS, (crops.maps, crops.geometry, *masks), strict=True))
        outputs: list[Floats] = self._session.run(list(OUTPUTS), inputs)
        return outputs


class Bound(Device):
    """A device that ONNX Runtime's IO binding reaches: the first CUDA device that the process sees.

    crops_per_run: of every run. Tests bind the CPU, which computes the same bytes as the host.
    """

    batches = True

    def __init__(self, crops_per_run: int = DEVICE_CROPS, provider: Provider = Provider.CUDA) -> None:
        self.crops_per_run, self._provider = crops_per_run, provider

    def open(self, model: bytes) -> Net:
        """Return the net of an ONNX model's bytes; raises RuntimeError where the device cannot be had."""
        return _BoundNet(open_session(model, self._provider), self._provider)

    def place(self, maps: Floats, geometry: Floats) -> list[Run[OrtValue]]:
        """Return D crops on the device."""
        parts = crop_slices(len(maps), self.crops_per_run)
        return [Run(self._filled(maps[part]), self._filled(geometry[part]), part.stop - part.start) for part in parts]

    def _filled(self, values: Floats) -> OrtValue:
        filled = np.zeros((self.crops_per_run, *values.shape[1:]), np.float32)
        filled[: len(values)] = values
        return OrtValue.ortvalue_from_numpy(filled, self._provider.value)


class _BoundNet(Net):
    def __init__(self, session: InferenceSession, provider: Provider) -> None:
        self._session, self._provider = session, provider
        # by the identity of the host's masks, which are kept with them: these are made once and never change
        self._masks: OrderedDict[int, tuple[Masks, list[OrtValue]]] = OrderedDict()

    def run(self, crops: Run[OrtValue], masks: Masks) -> list[Floats]:
        binding = self._session.io_binding()
        for name, value in zip(INPUTS, (crops.maps, crops.geometry, *self._placed(masks)), strict=True):
            binding.bind_ortvalue_input(name, value)
        for name in OUTPUTS:
            # no device named: the host's memory
            binding.bind_output(name)
        self._session.run_with_iobinding(binding)

        *drawn, embedding = binding.copy_outputs_to_cpu()
        return [
            np.ascontiguousarray(part) for part in (*(array[:, : crops.crops] for array in drawn), embedding[: crops.crops])
        ]

    def _placed(self, masks: Masks) -> list[OrtValue]:
        """Return masks on the device; CACHED of them stay there, those used last."""
        if id(masks) not in self._masks:
            self._masks[id(masks)] = masks, [OrtValue.ortvalue_from_numpy(mask, self._provider.value) for mask in masks]
        self._masks.move_to_end(id(masks))
        if len(self._masks) > CACHED:
            self._masks.popitem(last=False)
        return self._masks[id(masks)][1]


def crop_slices(count: int, most: int) -> list[slice]:
    """Return slices of at most so many crops."""
    return [slice(start, min(start + most, count)) for start in range(0, count, most)]
