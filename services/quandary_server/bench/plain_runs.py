"""A device without IO binding, to measure what that is worth: everything goes there and back with every run."""

from collections.abc import Sequence

import numpy as np

from quandary_server.inference.device import Device, Floats, Net, Run, crop_slices
from quandary_server.inference.masks import Masks
from quandary_server.inference.provider import Provider
from quandary_server.inference.session import INPUTS, OUTPUTS, open_session


class PlainRuns(Device):
    """ONNX Runtime's plain `run` on a provider, with runs of one size."""

    batches = True

    def __init__(self, crops_per_run: int, provider: Provider) -> None:
        self._crops_per_run, self._provider = crops_per_run, provider

    def open(self, model: bytes) -> Net:
        """Return the net of an ONNX model's bytes."""
        return _PlainNet(model, self._provider)

    def place(self, maps: Floats, geometry: Floats) -> Sequence[Run[Floats]]:
        """Return D crops in the host's memory."""
        parts = crop_slices(len(maps), self._crops_per_run)
        return [Run(self._filled(maps[part]), self._filled(geometry[part]), part.stop - part.start) for part in parts]

    def _filled(self, values: Floats) -> Floats:
        filled = np.zeros((self._crops_per_run, *values.shape[1:]), np.float32)
        filled[: len(values)] = values
        return filled


class _PlainNet(Net):
    def __init__(self, model: bytes, provider: Provider) -> None:
        self._session = open_session(model, provider)

    def run(self, crops: Run[Floats], masks: Masks) -> list[Floats]:
        inputs = dict(zip(INPUTS, (crops.maps, crops.geometry, *masks), strict=True))
        *drawn, embedding = self._session.run(list(OUTPUTS), inputs)
        return [*(array[:, : crops.crops] for array in drawn), embedding[: crops.crops]]
