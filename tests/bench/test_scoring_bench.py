"""The parts of `quandary bench scoring` that are pure, with tiny sizes."""

import os
from itertools import count
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from support.generations import SMALL
from support.scoring import LIMITS

from quandary.errors import Unavailable
from quandary.options import Estimator, ScoringOptions
from quandary_server.bench.figures import Figure
from quandary_server.bench.frames import cropped_frame, whole_frame
from quandary_server.bench.scoring import baal_worker
from quandary_server.bench.scoring.accounts import ServerProcesses, proportional_mb, resident_mb, unique_mb
from quandary_server.bench.scoring.baal_peer import prepare_environment
from quandary_server.bench.scoring.bars import held, median
from quandary_server.bench.scoring.estimators import INFERENCE, floors
from quandary_server.bench.scoring.measure import BASE
from quandary_server.bench.scoring.peers import naive
from quandary_server.bench.scoring.runs import FULL
from quandary_server.bench.scoring.shares import Trunk, parts_of
from quandary_server.bench.scoring.steps import INFERENCE as INFERENCE_STEP
from quandary_server.bench.scoring.steps import SCORING, Request, crops_per_second, step_times
from quandary_server.bench.scoring.untrained import untrained_generation, untrained_net
from quandary_server.detector.export import export_onnx
from quandary_server.frustum.raster import CHANNELS, GEOMETRY, rasterise


def test_a_figure_is_the_median_held_to_its_bar() -> None:
    figure = held("softmax_ms", [0.3, 0.1, 0.2])
    assert (figure.value, figure.reach, figure.met, figure.samples) == (0.2, "<= 0.2", True, [0.3, 0.1, 0.2])
    assert held("served_share_16", [0.8]).met is False
    assert median("mine", [1.0, 3.0], "ms") == Figure("mine", 2.0, "ms", samples=[1.0, 3.0])


def test_the_floor_takes_the_extra_samples_reduction_off() -> None:
    # SOFTMAX 4, of which 1 is inference; MC 10, of which 3 are: 4 + 2 over 4
    spent = {BASE: [4.0], "mc20": [10.0], INFERENCE + BASE: [1.0], f"{INFERENCE}mc20": [3.0]}
    assert floors(spent, "mc20") == [1.5]


def test_the_parts_of_an_estimators_time_add_up_to_all_of_it() -> None:
    spent = {"trunk": 2.0, "inference": 5.0, "draw": 6.0, "entropies": 1.0, "summary": 3.0, "jackknife": 4.0, "total": 15.0}
    parts = parts_of({name: [taken] for name, taken in spent.items()})
    assert parts == {
        "trunk": [2.0],
        "heads": [3.0],
        "softmax_and_layout": [1.0],
        "entropies": [1.0],
        "box": [2.0],
        "jackknife": [4.0],
        "rest": [2.0],
    }


def test_the_trunk_gives_the_embedding_that_the_whole_net_gives() -> None:
    net, generation = untrained_net(0, SMALL), untrained_generation(SMALL, members=1)
    frame = cropped_frame(3)
    rasters = rasterise(frame.crops or [], frame.calibration, [proposal.box for proposal in frame.proposals], SMALL.side)
    found = Trunk(export_onnx(net)[0]).run(rasters)
    assert found.tobytes() == generation.draw_first(rasters, 2, 0).embedding.tobytes()


def test_steps_are_timed_by_the_clock_they_are_given() -> None:
    request = Request.of(
        cropped_frame(2), untrained_generation(SMALL, members=1), ScoringOptions(Estimator.MC_DROPOUT, mc_samples=3), LIMITS
    )
    ticks = count()
    # a second passes between any two looks at it, so one round is over
    found = step_times(request, 1.0, lambda: float(next(ticks)))
    assert set(found) == {"decode", "parse", "rasterise", INFERENCE_STEP, SCORING, "answer", "encode"}
    assert set(found.values()) == {1000.0}
    assert crops_per_second(request, 0.5, lambda: float(next(ticks))) == pytest.approx(2 / 2)


def test_a_whole_cloud_has_the_crops_that_its_view_has() -> None:
    cut, whole = cropped_frame(4).crops or [], whole_frame(4, 20_000)
    assert whole.points is not None
    assert len(whole.points) == 20_000
    for mine, theirs in zip(cut, whole.cropped().crops or [], strict=True):
        assert sorted(mine.tolist()) == sorted(theirs.tolist())


def test_a_frame_without_a_crop_can_be_asked_for() -> None:
    assert cropped_frame(0).crops == []


def test_the_net_that_baal_gets_answers_as_ours() -> None:
    net, crops = untrained_net(3, SMALL), 4
    shape = SMALL.model_dump() | {"maps": len(CHANNELS), "geometry": len(GEOMETRY), "outputs": sum(net.outputs)}
    theirs = baal_worker.Net(shape)
    theirs.load_state_dict(net.state_dict())
    maps, geometry = torch.rand(crops, len(CHANNELS), SMALL.side, SMALL.side), torch.rand(crops, len(GEOMETRY))
    whole = [torch.ones(1, width) for width in (SMALL.embedding, SMALL.hidden)]
    with torch.no_grad():
        expected = torch.cat(net(maps, geometry, *whole)[:3], dim=-1)[0]
        torch.testing.assert_close(theirs.eval()((maps, geometry)), expected)


def test_the_naive_loop_gives_a_distribution_for_each_crop() -> None:
    frame = cropped_frame(3)
    rasters = rasterise(frame.crops or [], frame.calibration, [proposal.box for proposal in frame.proposals], SMALL.side)
    probs, boxes, spread, variances = naive(untrained_net(0, SMALL))(rasters)
    np.testing.assert_allclose(probs.sum(dim=-1).numpy(), 1.0, rtol=1e-5)
    assert boxes.shape == spread.shape == (3, 10)
    assert variances.shape == (3, 7)
    assert FULL.mc_samples == 20


def test_a_process_by_itself_is_its_own_replica() -> None:
    server = ServerProcesses(os.getpid(), [os.getpid()])
    replica, proxy = server.cpu_s()
    assert replica > 0
    assert proxy == 0
    assert server.cpu_s()[0] >= replica
    me = psutil.Process()
    assert 0 < unique_mb(me) <= proportional_mb(me) <= resident_mb(me) + 1


def test_a_folder_of_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("all of it")
    with pytest.raises(Unavailable, match="holds what was not made here"):
        prepare_environment(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "all of it"
