"""Fixtures that several rooms share: a camera, small generations, and what an optional part skips for."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import ray
from hypothesis import settings
from support.generations import SMALL, untrained
from support.postgres import Postgres, postgres_for_tests
from support.s3 import CREDENTIALS, S3Server, s3_for_tests

from quandary import Frame, NotFound, Proposal
from quandary.frustum import crop_frusta
from quandary.geometry import Calibration, ImageBox
from quandary_server.cluster import start_cluster
from quandary_server.frustum.raster import Rasters, rasterise
from quandary_server.registry.directory import Artefacts
from quandary_server.settings import load_settings

KITTI_VARIABLE = "QUANDARY_KITTI"

# how long an example takes is the machine's business; fifty of each keep all checks within their minutes
settings.register_profile("quandary", deadline=None, max_examples=50)
settings.load_profile("quandary")

# what a shell starts in the background ignores Ctrl-C, and all that it starts: tests that press it would wait for ever
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# what is forked off for a test has imported already what most of that time would go to; pytest's script is its __main__
multiprocessing.set_forkserver_preload(
    [
        "__main__",
        "confluent_kafka",
        "quandary_server.bench.queue.shift",
        "quandary_server.selector.service",
        "quandary_server.storage.mcap_log",
    ]
)


@pytest.fixture(scope="session")
def kitti() -> Path:
    """The real frames; skips, by name, where they are not given."""
    folder = os.environ.get(KITTI_VARIABLE)
    if not folder:
        pytest.skip(f"{KITTI_VARIABLE} is not set: no real KITTI frames")
    return Path(folder)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[str]:
    """The one Ray of this session: its address."""
    with pytest.MonkeyPatch.context() as patch:
        # what Ray starts is given its environment: credentials for replicas whose registry is in the tests' S3
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        address = start_cluster(load_settings(ray={"cpus": 2}))
    yield address
    ray.shutdown()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The one PostgreSQL server of this session; skips, by name, where none can be started."""
    with ExitStack() as stack:
        try:
            running = stack.enter_context(postgres_for_tests())
        except NotFound as error:
            pytest.skip(str(error))
        yield running


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """The one S3 of this session, with credentials in the environment; skips, by name, where it cannot be had."""
    with ExitStack() as stack:
        try:
            running = stack.enter_context(s3_for_tests())
        except NotFound as error:
            pytest.skip(str(error))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        yield running


@pytest.fixture(scope="session")
def calibration() -> Calibration:
    """A camera 0.3 m behind the LiDAR that looks along +x: 700 px focal length, 1200 x 400 px."""
    projection = [[700.0, 0.0, 600.0, 0.0], [0.0, 700.0, 200.0, 0.0], [0.0, 0.0, 1.0, 0.0]]
    # camera x is -y, camera y is -z, camera z is x
    lidar_to_camera = [[0.0, -1.0, 0.0, 0.0], [0.0, 0.0, -1.0, -0.1], [1.0, 0.0, 0.0, 0.3]]
    return Calibration(np.array(projection), np.array(lidar_to_camera), 1200, 400)


@pytest.fixture(scope="session")
def generation() -> Artefacts:
    """Three small members, initialised and never fitted."""
    return untrained(SMALL, members=3)


@pytest.fixture(scope="session")
def rasters(calibration: Calibration) -> Callable[[int], Rasters]:
    """Rasters of as many crops of random points as asked for, the same ones every time."""

    def make(count: int) -> Rasters:
        rng = np.random.default_rng(count)
        corners = rng.uniform([0, 0], [1000, 250], size=(count, 2)).tolist()
        boxes = [ImageBox(x, y, x + rng.uniform(20, 190), y + rng.uniform(20, 140)) for x, y in corners]
        points = np.column_stack([rng.uniform([5, -20, -2], [60, 20, 2], (4000, 3)), rng.random(4000)]).astype(np.float32)
        return rasterise(crop_frusta(points, calibration, boxes), calibration, boxes)

    return make


MakeFrame = Callable[..., Frame]


@pytest.fixture(scope="session")
def make_frame(calibration: Calibration) -> MakeFrame:
    """Makes a frame with a whole cloud: of an id, a seed and a number of proposals."""

    def make(frame_id: str, seed: int = 1, proposals: int = 3) -> Frame:
        rng = np.random.default_rng(seed)
        points = np.column_stack([rng.uniform([5, -20, -2], [60, 20, 2], (2000, 3)), rng.random(2000)]).astype(np.float32)
        corners = rng.uniform([0, 0], [1000, 250], size=(proposals, 2)).tolist()
        boxes = [ImageBox(x, y, x + rng.uniform(20, 190), y + rng.uniform(20, 140)) for x, y in corners]
        return Frame(frame_id, calibration, [Proposal(box) for box in boxes], points=points)

    return make
