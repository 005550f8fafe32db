"""Export to ONNX, checked against torch."""

import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch

from quandary_server.detector.net import FrustumNet
from quandary_server.frustum.raster import CHANNELS, GEOMETRY
from quandary_server.inference.masks import dropout_masks
from quandary_server.inference.provider import Provider
from quandary_server.inference.session import INPUTS, OUTPUTS, open_session

PARITY_TOLERANCE = 1e-4
OPSET = 18


class ParityError(ValueError):
    """The exported model answers otherwise than the net."""

    def __init__(self, difference: float) -> None:
        super().__init__(f"the exported model differs from the net by {difference:.3g}, allowed are {PARITY_TOLERANCE:g}")
        self.difference = difference


def export_onnx(net: FrustumNet, seed: int = 0) -> tuple[bytes, float]:
    """Return the net as ONNX bytes and the largest difference of any output, relative above 1, over random inputs.

    Raises ParityError where it exceeds 1e-4.
    """
    net = net.eval()
    axes = {"maps": {0: "D"}, "geometry": {0: "D"}, "mask_in": {0: "T"}, "mask_hidden": {0: "T"}}
    axes |= {name: {0: "T", 1: "D"} for name in OUTPUTS[:3]} | {"embedding": {0: "D"}}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # the exporter that replaces this one takes 6 s a member instead of 0.3 and gives a graph that runs no faster
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            net,
            _inputs(net, crops=2, samples=2, seed=seed),
            f"{folder}/member.onnx",
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
        model = Path(folder, "member.onnx").read_bytes()
    difference = parity(net, model, seed)
    if not difference <= PARITY_TOLERANCE:
        raise ParityError(difference)
    return model, difference


def parity(net: FrustumNet, model: bytes, seed: int = 0) -> float:
    """Return the largest difference between net and ONNX model over all outputs, absolute below 1 and relative above."""
    inputs = _inputs(net, crops=5, samples=3, seed=seed + 1)
    with torch.no_grad():
        expected = [output.numpy() for output in net(*inputs)]
    session = open_session(model, Provider.CPU)
    got = session.run(list(OUTPUTS), {name: value.numpy() for name, value in zip(INPUTS, inputs, strict=True)})
    differences = [np.max(np.abs(g - e) / np.maximum(np.abs(e), 1.0)) for g, e in zip(got, expected, strict=True)]
    # NaN must win: it fails every bound
    return float(np.max(differences))


def _inputs(net: FrustumNet, crops: int, samples: int, seed: int) -> tuple[torch.Tensor, ...]:
    rng, settings = np.random.default_rng(seed), net.settings
    maps = rng.normal(size=(crops, len(CHANNELS), settings.side, settings.side)).astype(np.float32)
    geometry = rng.normal(size=(crops, len(GEOMETRY))).astype(np.float32)
    masks = dropout_masks(seed, 0, samples, (settings.embedding, settings.hidden), settings.dropout)
    return tuple(torch.from_numpy(np.array(value)) for value in (maps, geometry, *masks))
