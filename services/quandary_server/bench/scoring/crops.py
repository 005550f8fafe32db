"""What it takes a server to cut and rasterise the crops of a frame that came with its whole cloud."""

import time
from collections.abc import Callable

from quandary.convert import frame_message
from quandary.frames import Frame
from quandary_server.bench.figures import Figure
from quandary_server.bench.frames import cropped_frame, whole_frame
from quandary_server.bench.progress import Told
from quandary_server.bench.scoring.bars import BARS, held, median
from quandary_server.frustum.raster import rasterise
from quandary_server.scoring.ingress import limits_of
from quandary_server.settings import ScoringSettings
from quandary_server.wire import frames as wire_frames

CROPS, CLOUD_POINTS = 16, 20_000
ROUNDS, REPEATS = 15, 20

UNIT = BARS["crop_ms_20k"].unit


def crop_figures(told: Told) -> list[Figure]:
    """Return the CPU of cropping and rasterising, what parsing adds, and what a client's own cropping leaves of it."""
    told("cropping", 0, 1)
    frame, limits = whole_frame(CROPS, CLOUD_POINTS), limits_of(ScoringSettings())
    message, cut = frame_message(frame), cropped_frame(CROPS)
    runs: dict[str, Callable[[], object]] = {
        "both": lambda: _rasterised(frame.cropped()),
        "crop": frame.cropped,
        "parsed": lambda: _rasterised(wire_frames.frame(message, limits).cropped()),
        "client": lambda: _rasterised(cut),
    }
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            started = time.process_time()
            for _ in range(REPEATS):
                run()
            spent[name].append((time.process_time() - started) / REPEATS * 1e3)
    return [
        held("crop_ms_20k", spent["both"]),
        median("profile_crop_cut_ms", spent["crop"], UNIT),
        median("profile_crop_with_parsing_ms", spent["parsed"], UNIT),
        median("client_crops_raster_ms", spent["client"], UNIT),
    ]


def _rasterised(frame: Frame) -> object:
    return rasterise(frame.crops or [], frame.calibration, [proposal.box for proposal in frame.proposals])
