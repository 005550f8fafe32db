"""quandary bench scoring: CPU per crop of each estimator, inference and reduction, one thread."""

import statistics
import time
from datetime import UTC, datetime

import numpy as np
import torch

from quandary.frustum import crop_frusta
from quandary.geometry import Calibration, ImageBox
from quandary.labels import CLASSES
from quandary.options import Estimator, ScoringOptions
from quandary_server.bench.figures import Figure, at_most
from quandary_server.detector.export import export_onnx
from quandary_server.detector.net import FrustumNet
from quandary_server.detector.settings import NetSettings
from quandary_server.frustum.raster import Rasters, rasterise
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.inference.provider import Provider
from quandary_server.inference.scores import score_rasters
from quandary_server.registry.directory import Artefacts
from quandary_server.registry.manifest import Manifest, NetRecord, generation_id, member_name, sha256

CROPS, MEMBERS, MC_SAMPLES = 16, 5, 20
ROUNDS, REPEATS = 15, 10
POINTS = 20_000


def scoring_figures() -> list[Figure]:
    """Return the CPU per crop of SOFTMAX, and of MC-dropout and the whole ensemble over it; rounds interleaved, medians."""
    generation, rasters = _generation(), _rasters()
    estimators = (Estimator.SOFTMAX, Estimator.MC_DROPOUT, Estimator.ENSEMBLE_MC_DROPOUT)
    spent: dict[Estimator, list[float]] = {estimator: [] for estimator in estimators}
    for _ in range(ROUNDS):
        for estimator in estimators:
            options = ScoringOptions(estimator, mc_samples=MC_SAMPLES)
            started = time.process_time()
            for _ in range(REPEATS):
                score_rasters(generation, rasters, options)
            spent[estimator].append((time.process_time() - started) / REPEATS / CROPS * 1e3)

    softmax = spent[Estimator.SOFTMAX]
    mc = [a / b for a, b in zip(spent[Estimator.MC_DROPOUT], softmax, strict=True)]
    full = [a / b for a, b in zip(spent[Estimator.ENSEMBLE_MC_DROPOUT], softmax, strict=True)]
    return [
        at_most("softmax_ms", statistics.median(softmax), "ms of CPU per crop", 0.20, softmax),
        at_most("mc20_over_softmax", statistics.median(mc), "ratio", 1.10, mc),
        at_most("full_over_softmax", statistics.median(full), "ratio", 5.2, full),
    ]


def _generation() -> LoadedGeneration:
    settings, models = NetSettings(), []
    for seed in range(MEMBERS):
        torch.manual_seed(seed)
        models.append(export_onnx(FrustumNet(settings))[0])
    files = {member_name(k): sha256(model) for k, model in enumerate(models)}
    net = NetRecord(side=settings.side, embedding=settings.embedding, hidden=settings.hidden, dropout=settings.dropout)
    manifest = Manifest(
        generation=generation_id(1, files),
        number=1,
        created=datetime.now(UTC),
        classes=CLASSES,
        net=net,
        box_scales=(1.0,) * 7,
        seed=0,
        files=files,
    )
    return LoadedGeneration(Artefacts(manifest, tuple(models)), Provider.CPU)


def _rasters() -> Rasters:
    rng = np.random.default_rng(0)
    projection = np.array([[720.0, 0, 620, 0], [0, 720, 180, 0], [0, 0, 1, 0]])
    lidar_to_camera = np.array([[0.0, -1, 0, 0], [0, 0, -1, -0.1], [1, 0, 0, -0.3]])
    calibration = Calibration(projection, lidar_to_camera, 1240, 375)
    points = np.column_stack([rng.uniform([5, -30, -2], [70, 30, 2], (POINTS, 3)), rng.random(POINTS)]).astype(np.float32)
    corners = rng.uniform([0, 100], [1100, 200], (CROPS, 2)).tolist()
    boxes = [ImageBox(x, y, x + rng.uniform(20, 130), y + rng.uniform(20, 120)) for x, y in corners]
    return rasterise(crop_frusta(points, calibration, boxes), calibration, boxes)
