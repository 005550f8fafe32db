"""IO binding of the CPU, where it must give the bytes of the host; what only a GPU can tell `bench gpu` measures."""

from collections.abc import Callable

import numpy as np
import pytest

from quandary.options import Acquisition, Estimator, ScoringOptions
from quandary_server.frustum.raster import Rasters
from quandary_server.inference.device import CROPS_PER_RUN, Bound, Host, crop_slices
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.inference.masks import CACHED, dropout_masks
from quandary_server.inference.member import LoadedMember, MemberDraws, each_crops
from quandary_server.inference.object_scores import ObjectScores
from quandary_server.inference.provider import Provider
from quandary_server.inference.scores import score_rasters
from quandary_server.inference.warm_up import warm_up
from quandary_server.registry.directory import Artefacts


def bound(crops_per_run: int) -> Bound:
    return Bound(crops_per_run, Provider.CPU)


def raw(scores: ObjectScores) -> list[bytes]:
    values = [scores.score, scores.score_without, scores.mean_probs, scores.box, scores.aleatoric, scores.epistemic]
    return [value.tobytes() for value in (*values, scores.embedding) if value is not None]


def test_crops_are_cut_into_runs_of_one_size_on_a_device_and_left_alone_on_the_host(rasters: Callable[[int], Rasters]) -> None:
    crops = rasters(150)
    host = Host().place(crops.maps, crops.geometry)
    assert [run.crops for run in host] == [CROPS_PER_RUN, CROPS_PER_RUN, 150 - 2 * CROPS_PER_RUN]
    assert all(np.shares_memory(run.maps, crops.maps) for run in host)
    placed = bound(40).place(crops.maps, crops.geometry)
    assert [run.crops for run in placed] == [40, 40, 40, 30]
    assert {tuple(run.maps.shape()) for run in placed} == {(40, *crops.maps.shape[1:])}
    last = placed[-1].geometry.numpy()
    assert (last[30:] == 0).all()
    assert last[:30].tobytes() == crops.geometry[120:].tobytes()
    assert crop_slices(0, 40) == []


@pytest.mark.parametrize("crops_per_run", [8, 64, 128])
@pytest.mark.parametrize("estimator", Estimator)
def test_io_binding_gives_the_bytes_of_the_host(
    generation: Artefacts, rasters: Callable[[int], Rasters], estimator: Estimator, crops_per_run: int
) -> None:
    host, device = LoadedGeneration(generation, Host()), LoadedGeneration(generation, bound(crops_per_run))
    for options in (
        ScoringOptions(estimator, mc_samples=7),
        ScoringOptions(estimator, Acquisition.PREDICTIVE_ENTROPY, mc_samples=5, seed=3),
    ):
        for count in (1, 2, crops_per_run, crops_per_run + 5):
            ours = score_rasters(device, rasters(count), options)
            assert raw(ours) == raw(score_rasters(host, rasters(count), options))


def test_a_member_of_a_bound_generation_draws_alone(generation: Artefacts, rasters: Callable[[int], Rasters]) -> None:
    host, device = LoadedGeneration(generation, Host()), LoadedGeneration(generation, bound(16))
    options = ScoringOptions(Estimator.SOFTMAX)
    ours, theirs = (score_rasters(loaded.only(2), rasters(9), options) for loaded in (device, host))
    assert raw(ours) == raw(theirs)
    warm_up(device)


def test_masks_that_fall_out_of_the_device_are_placed_anew(generation: Artefacts, rasters: Callable[[int], Rasters]) -> None:
    crops, net = rasters(3), generation.manifest.net
    member = LoadedMember(generation.members[0], 0, net, bound(8))
    drawn = [member.draw(crops.maps, crops.geometry, 2, seed).logits.tobytes() for seed in range(CACHED + 2)]
    assert len(set(drawn)) == CACHED + 2
    again = [member.draw(crops.maps, crops.geometry, 2, seed).logits.tobytes() for seed in (0, 1, CACHED + 1)]
    assert again == [drawn[0], drawn[1], drawn[CACHED + 1]]


def test_masks_made_anew_are_not_taken_for_others(generation: Artefacts, rasters: Callable[[int], Rasters]) -> None:
    """They are known by the identity of arrays, which the host's own cache lets go of."""
    crops = rasters(2)
    members = [LoadedMember(generation.members[0], 0, generation.manifest.net, where) for where in (bound(4), Host())]
    for seed in range(20):
        ours, theirs = (member.draw(crops.maps, crops.geometry, 2, seed).logits.tobytes() for member in members)
        assert ours == theirs
        dropout_masks.cache_clear()


def test_draws_are_cut_as_they_were_joined(generation: Artefacts, rasters: Callable[[int], Rasters]) -> None:
    crops = rasters(12)
    member = LoadedMember(generation.members[0], 0, generation.manifest.net)
    parts: list[MemberDraws] = each_crops(member.draw(crops.maps, crops.geometry, 3, 0), [5, 1, 6])
    for part, where in zip(parts, (slice(0, 5), slice(5, 6), slice(6, 12)), strict=True):
        alone = member.draw(crops.maps[where], crops.geometry[where], 3, 0)
        assert [array.tobytes() for array in part] == [array.tobytes() for array in alone]
