"""Generations of nets that were never fitted: what they cost is what fitted ones cost."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import torch

from quandary.labels import CLASSES
from quandary_server.detector.export import export_onnx
from quandary_server.detector.net import FrustumNet
from quandary_server.detector.settings import NetSettings
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.inference.provider import Provider
from quandary_server.registry.directory import Registry
from quandary_server.registry.manifest import Manifest, NetRecord, member_name


def untrained_net(seed: int, settings: NetSettings) -> FrustumNet:
    """Return a net, another one for every seed."""
    torch.manual_seed(seed)
    return FrustumNet(settings).eval()


def untrained_generation(settings: NetSettings, members: int) -> LoadedGeneration:
    """Return a generation in memory."""
    with tempfile.TemporaryDirectory() as folder:
        registry = Registry(Path(folder))
        return LoadedGeneration(registry.load(register_untrained(registry, members, settings), None), Provider.CPU)


def register_untrained(registry: Registry, members: int, settings: NetSettings, first_seed: int = 0) -> str:
    """Register members that are all different, of seeds from the first one on; return the generation."""
    models = {member_name(k): export_onnx(untrained_net(first_seed + k, settings))[0] for k in range(members)}

    def describe(number: int, name: str, files: dict[str, str]) -> Manifest:
        return Manifest(
            generation=name,
            number=number,
            created=datetime.now(UTC),
            classes=CLASSES,
            net=NetRecord(side=settings.side, embedding=settings.embedding, hidden=settings.hidden, dropout=settings.dropout),
            box_scales=(1.0,) * 7,
            seed=0,
            files=files,
        )

    return registry.register(models, describe).generation
