"""The shadow: a candidate scores recent frames beside the current generation, before anybody gets its answers."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from quandary import convert
from quandary.errors import GateRefused, QuandaryError
from quandary.frustum import crop_frusta
from quandary.options import ScoringOptions
from quandary.v1 import fleet_log_pb2
from quandary_server.cluster import give_way
from quandary_server.detector.assessment import assess
from quandary_server.detector.examples import Examples
from quandary_server.evaluation.ranking import top_overlap
from quandary_server.frustum.raster import Rasters, rasterise
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.inference.scores import score_rasters
from quandary_server.settings.promotion import ShadowSettings
from quandary_server.storage.blobs import read_cloud
from quandary_server.uncertainty.calibration import expected_calibration_error
from quandary_server.uncertainty.reduction import reduce_objects

Array = NDArray[np.float64]

FRAMES_AT_ONCE = 32
MIN_CROPS = 100
"""An ECE of fewer control crops is undetermined."""

log = logging.getLogger(__name__)


def shadow_figures(
    candidate: LoadedGeneration,
    current: LoadedGeneration,
    records: Sequence[bytes],
    control: Examples,
    options: ScoringOptions,
    settings: ShadowSettings,
) -> dict[str, float]:
    """Return how the candidate scores these frames beside the current generation, in a thread that gives way.

    shadow_frames: that could be read and hold a proposal. shadow_rank_correlation: Spearman's, of the frame scores.
    shadow_top_overlap: the share of the current one's top tenth that is in the candidate's. shadow_confidence_drift: the mean
    probability of the likeliest class, less the current one's; shadow_ece_drift: the same of the ECE on control labels. What is
    undetermined is left out: all but the count for fewer than `min_frames`, the correlation where all scores are equal.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="shadow", initializer=give_way) as thread:
        return thread.submit(_figures, candidate, current, records, control, options, settings).result()


def check_shadow(figures: dict[str, float], settings: ShadowSettings) -> None:
    """Raise GateRefused where a figure is below its bound; one that is undetermined refuses nothing."""
    bounds = {
        "shadow_rank_correlation": settings.min_rank_correlation,
        "shadow_top_overlap": settings.min_top_overlap,
    }
    for name, bound in bounds.items():
        if bound is not None and figures.get(name, bound) < bound:
            raise GateRefused(f"{name} is {figures[name]:.3f}, must be at least {bound:g}: promote it by hand if that is right")


def _figures(
    candidate: LoadedGeneration,
    current: LoadedGeneration,
    records: Sequence[bytes],
    control: Examples,
    options: ScoringOptions,
    settings: ShadowSettings,
) -> dict[str, float]:
    scores, confidence = _both_scored((candidate, current), _rasters(records, current.manifest.net.side), options)
    found = {"shadow_frames": float(len(scores))}
    if len(scores) < settings.min_frames:
        return found
    # scores (F, 2), confidence (D, 2): of the candidate, then of the current generation
    mine, theirs = scores.T
    if min(np.ptp(mine), np.ptp(theirs)) > 0:
        found["shadow_rank_correlation"] = float(spearmanr(mine, theirs).statistic)
    found["shadow_top_overlap"] = top_overlap(mine, theirs)
    surer, sure = confidence.mean(axis=0)
    found["shadow_confidence_drift"] = float(surer - sure)
    if len(control) >= MIN_CROPS:
        found["shadow_ece_drift"] = _ece(candidate, control, options) - _ece(current, control, options)
    return found


def _ece(generation: LoadedGeneration, control: Examples, options: ScoringOptions) -> float:
    found = assess(generation, control, options)
    return expected_calibration_error(found.probs, found.classes)


def _both_scored(
    generations: Sequence[LoadedGeneration], frames: Iterable[Rasters], options: ScoringOptions
) -> tuple[Array, Array]:
    """Return the scores of frames (F, 2) and the probabilities of the likeliest class of their objects (D, 2)."""
    scores, confidence = [np.empty((0, 2))], [np.empty((0, 2))]
    waiting = iter(frames)
    while batch := list(islice(waiting, FRAMES_AT_ONCE)):
        ends = np.cumsum([len(rasters) for rasters in batch])
        found = [score_rasters(g, Rasters.joined(batch), options, jackknife=False) for g in generations]
        parts = [np.split(objects.score, ends[:-1]) for objects in found]
        frame_scores = [[float(reduce_objects(options.reduction, part, options.top_k)) for part in each] for each in parts]
        scores.append(np.array(frame_scores).T)
        confidence.append(np.stack([objects.mean_probs.max(axis=1) for objects in found], axis=1))
    return np.concatenate(scores), np.concatenate(confidence)


def _rasters(records: Iterable[bytes], side: int) -> Iterator[Rasters]:
    for data in records:
        record = convert.record(fleet_log_pb2.FrameRecord.FromString(data))
        boxes = [proposal.box for proposal in record.proposals]
        try:
            cloud = read_cloud(record.cloud_uri)
        except QuandaryError as error:
            log.warning("frame_not_shadowed frame=%s problem=%s", record.frame_id, error)
            continue
        if boxes:
            yield rasterise(crop_frusta(cloud, record.calibration, boxes), record.calibration, boxes, side)
