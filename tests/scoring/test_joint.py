"""Requests that are scored together get to the bit what each gets alone, and their own errors."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from support.scoring import LIMITS

from quandary import Frame
from quandary.convert import frame_message
from quandary.errors import Cancelled, InvalidArgument
from quandary.options import Acquisition, Estimator, ScoringOptions
from quandary.v1 import scoring_pb2
from quandary_server.frustum.raster import Rasters
from quandary_server.inference.cascade import calibrate_cascade
from quandary_server.inference.device import Bound, Device, Host
from quandary_server.inference.generation import Generation, LoadedGeneration
from quandary_server.inference.object_scores import ObjectScores
from quandary_server.inference.provider import Provider
from quandary_server.registry.directory import Artefacts
from quandary_server.scoring.engine import FramesScored
from quandary_server.scoring.joint import score_jointly
from quandary_server.scoring.work import Work

OPTIONS = [
    *(ScoringOptions(estimator, mc_samples=6, include_embedding=True) for estimator in Estimator),
    ScoringOptions(Estimator.MC_DROPOUT, Acquisition.STABILITY, mc_samples=3, jittered_proposals=2, seed=5),
    ScoringOptions(Estimator.DEEP_ENSEMBLE, Acquisition.TIGHTNESS),
]


@pytest.fixture(scope="module")
def calibrated(generation: Artefacts, rasters: Callable[[int], Rasters]) -> Artefacts:
    """The generation with the thresholds of a cascade."""
    record = calibrate_cascade(LoadedGeneration(generation, Provider.CPU), rasters(40))
    return Artefacts(generation.manifest.model_copy(update={"cascade": record}), generation.members)


def asked(frames: list[Frame], generation: Generation, options: ScoringOptions) -> FramesScored:
    messages = [frame_message(frame) for frame in frames]
    return FramesScored(LIMITS, messages, [f"frames[{k}]" for k in range(len(frames))], generation, options)


def bytes_of(found: Any) -> list[bytes]:
    """Return the answers of a request as they are sent."""
    assert not isinstance(found, Exception)
    results: list[scoring_pb2.FrameResult] = found[0]
    return [result.SerializeToString(deterministic=True) for result in results]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: f"{options.estimator}-{options.effective_acquisition}")
@pytest.mark.parametrize("where", [Host(), Bound(16, Provider.CPU)], ids=["host", "bound"])
def test_together_gives_the_bytes_of_alone(
    calibrated: Artefacts, make_frame: Callable[..., Frame], options: ScoringOptions, where: Device
) -> None:
    """One crop, none, several frames, and more crops than a run on the device has."""
    loaded = LoadedGeneration(calibrated, where)
    sizes = [[1], [3, 2], [], [0], [1, 0, 1], [6, 6, 5]]
    requests = [
        [make_frame(f"f{k}{i}", seed=10 * k + i, proposals=size) for i, size in enumerate(frames)]
        for k, frames in enumerate(sizes)
    ]
    together = score_jointly(loaded, options, [asked(frames, loaded, options) for frames in requests])
    for frames, found in zip(requests, together, strict=True):
        [alone] = score_jointly(loaded, options, [asked(frames, loaded, options)])
        assert bytes_of(found) == bytes_of(alone)
        assert not isinstance(found, Exception)
        assert found[1].crops == sum(len(frame.proposals) for frame in frames)
        assert found[1].seconds > 0


def test_a_bad_frame_costs_its_neighbours_nothing(calibrated: Artefacts, make_frame: Callable[..., Frame]) -> None:
    loaded, options = LoadedGeneration(calibrated, Provider.CPU), ScoringOptions()
    good = asked([make_frame("good")], loaded, options)
    broken = frame_message(make_frame("broken", seed=2))
    broken.calibration.ClearField("projection")
    bad = FramesScored(LIMITS, [broken, frame_message(make_frame("fine", seed=3))], ["frames[0]", "frames[1]"], loaded, options)
    found, beside = score_jointly(loaded, options, [bad, good])
    assert not isinstance(found, Exception)
    assert [result.HasField("error") for result in found[0]] == [True, False]
    assert found[0][0].error.violations[0].field.startswith("frames[0].calibration")
    [alone] = score_jointly(loaded, options, [asked([make_frame("good")], loaded, options)])
    assert bytes_of(beside) == bytes_of(alone)


@dataclass(frozen=True)
class Made:
    """A request of crops, or one that goes wrong where it is told to."""

    crops: Rasters
    refuses: Exception | None = None
    breaks: Exception | None = None

    def rasters(self) -> Rasters:
        if self.refuses is not None:
            raise self.refuses
        return self.crops

    def answer(self, scores: ObjectScores | None) -> tuple[bytes, Work]:
        if self.breaks is not None:
            raise self.breaks
        assert scores is not None
        return scores.score.tobytes(), Work()


def test_what_goes_wrong_with_one_is_told_to_it_alone(generation: Artefacts, rasters: Callable[[int], Rasters]) -> None:
    loaded, options = LoadedGeneration(generation, Provider.CPU), ScoringOptions(mc_samples=3)
    refused, late = InvalidArgument("no such crop"), Cancelled("gave up")
    requests = [Made(rasters(2)), Made(rasters(3), refuses=refused), Made(rasters(4), breaks=late), Made(rasters(1))]
    first, second, third, fourth = score_jointly(loaded, options, requests)
    assert (second, third) == (refused, late)
    for found, request in ((first, requests[0]), (fourth, requests[3])):
        [alone] = score_jointly(loaded, options, [request])
        assert not isinstance(found, Exception)
        assert not isinstance(alone, Exception)
        assert found[0] == alone[0]


def test_where_all_together_fail_only_what_fails_alone_does(generation: Artefacts, rasters: Callable[[int], Rasters]) -> None:
    """Crops of another side than the nets take cannot even be joined with the others."""
    loaded, options = LoadedGeneration(generation, Provider.CPU), ScoringOptions(mc_samples=3)
    narrow = rasters(3)
    narrow = Rasters(narrow.maps[..., :20, :20], narrow.geometry, narrow.anchors, narrow.points, narrow.views)
    found = score_jointly(loaded, options, [Made(rasters(2)), Made(narrow), Made(rasters(1))])
    assert [isinstance(one, Exception) for one in found] == [False, True, False]
