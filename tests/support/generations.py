"""Generations of nets that were never fitted."""

from datetime import UTC, datetime

import torch
from torch import Tensor

from quandary.labels import CLASSES
from quandary_server.detector.export import export_onnx
from quandary_server.detector.net import FrustumNet
from quandary_server.detector.settings import NetSettings
from quandary_server.frustum.raster import CHANNELS
from quandary_server.registry.directory import Artefacts
from quandary_server.registry.manifest import Manifest, NetRecord, generation_id, member_name, sha256

SMALL = NetSettings(channels=(4, 4, 8), image_embedding=12, geometry_embedding=4, hidden=16)


class Sick(FrustumNet):
    """Answers NaN for crops that hold a point, and soundly blank ones and those of an export's check."""

    def forward(self, maps: Tensor, geometry: Tensor, mask_in: Tensor, mask_hidden: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        logits, *rest = super().forward(maps, geometry, mask_in, mask_hidden)
        occupied = (maps[:, CHANNELS.index("occupancy")] == 1.0).float().amax((1, 2))
        return (logits + torch.sqrt(-occupied)[None, :, None], *rest)


def untrained(net: NetSettings, members: int, seed: int = 0, kind: type[FrustumNet] = FrustumNet) -> Artefacts:
    """Return a generation of nets that were never fitted."""
    models = []
    for k in range(members):
        torch.manual_seed(seed + k)
        models.append(export_onnx(kind(net))[0])
    files = {member_name(k): sha256(model) for k, model in enumerate(models)}
    manifest = Manifest(
        generation=generation_id(1, files),
        number=1,
        created=datetime(2026, 1, 1, tzinfo=UTC),
        classes=CLASSES,
        net=NetRecord(side=net.side, embedding=net.embedding, hidden=net.hidden, dropout=net.dropout),
        box_scales=(1.0,) * 7,
        seed=17,
        files=files,
    )
    return Artefacts(manifest, tuple(models))


def calibrated(artefacts: Artefacts) -> Artefacts:
    """Return the generation with a temperature and variance scales of its own."""
    update = {"temperature": 1.7, "variance_scales": (0.5, 0.6, 0.8, 1.2, 1.5, 2.0, 3.0)}
    return Artefacts(artefacts.manifest.model_copy(update=update), artefacts.members)
