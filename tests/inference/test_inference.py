from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from quandary.errors import CorruptArtefact
from quandary.options import Acquisition, Estimator, ScoringOptions
from quandary_server.frustum.raster import Rasters
from quandary_server.inference.device import CROPS_PER_RUN, Floats, Host, Run
from quandary_server.inference.estimate import usable_objects
from quandary_server.inference.generation import LoadedGeneration, sample_count
from quandary_server.inference.masks import dropout_masks, whole_masks
from quandary_server.inference.parts import CROPS_AT_ONCE, parts_of
from quandary_server.inference.provider import Provider
from quandary_server.inference.scores import score_many, score_rasters
from quandary_server.inference.warm_up import warm_up
from quandary_server.registry.directory import Artefacts, Registry
from quandary_server.uncertainty.samples import Samples
from quandary_server.uncertainty.summary import summarise

WIDTHS = (10, 6)
PER_OBJECT = (
    "score",
    "mean_probs",
    "predictive_entropy",
    "expected_entropy",
    "variation_ratio",
    "margin",
    "box",
    "aleatoric",
    "epistemic",
    "embedding",
    "points",
    "usable",
    "samples",
)
ESTIMATORS = [e for e in Estimator if e is not Estimator.ESCALATE]


@pytest.fixture(scope="module")
def loaded(generation: Artefacts) -> LoadedGeneration:
    return LoadedGeneration(generation, Provider.CPU)


def test_masks_depend_on_seed_member_and_t_alone() -> None:
    few, many = dropout_masks(3, 1, 4, WIDTHS, 0.5), dropout_masks(3, 1, 9, WIDTHS, 0.5)
    assert np.array_equal(few[0], many[0][:4])
    assert np.array_equal(few[1], many[1][:4])
    assert not np.array_equal(few[0], dropout_masks(4, 1, 4, WIDTHS, 0.5)[0])
    assert not np.array_equal(few[0], dropout_masks(3, 2, 4, WIDTHS, 0.5)[0])


def test_masks_drop_their_share_and_keep_the_mean() -> None:
    mask, _ = dropout_masks(0, 0, 200, (400, 1), 0.25)
    assert set(np.unique(mask)) == {np.float32(0), np.float32(1 / 0.75)}
    assert mask.mean() == pytest.approx(1.0, abs=0.01)
    assert whole_masks(WIDTHS)[0].tolist() == [[1.0] * 10]


def test_many_crops_are_scored_some_at_a_time_and_to_the_same_bytes(
    loaded: LoadedGeneration, rasters: Callable[[int], Rasters]
) -> None:
    crops, options = rasters(8).take(np.resize(np.arange(8), 2 * CROPS_AT_ONCE + 1)), ScoringOptions(mc_samples=3)
    assert [len(part) for part in parts_of(len(crops))] == [342, 342, 341]
    many, at_once = score_many(loaded, crops, options), score_rasters(loaded, crops, options, jackknife=False)
    for name in PER_OBJECT:
        assert getattr(many, name).tobytes() == getattr(at_once, name).tobytes(), name
    assert many.anchors.centre.tobytes() == at_once.anchors.centre.tobytes()
    assert (many.score_without, many.tightness, many.escalated) == (None, None, None)


def test_cached_masks_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="read-only"):
        dropout_masks(0, 0, 2, WIDTHS, 0.5)[0][0, 0] = 7.0


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_sample_counts(loaded: LoadedGeneration, rasters: Callable[[int], Rasters], estimator: Estimator) -> None:
    options = ScoringOptions(estimator, mc_samples=7)
    expected = {
        Estimator.SOFTMAX: 1,
        Estimator.MC_DROPOUT: 7,
        Estimator.DEEP_ENSEMBLE: loaded.members,
        Estimator.ENSEMBLE_MC_DROPOUT: 7 * loaded.members,
    }[estimator]
    scores = score_rasters(loaded, rasters(3), options)
    assert set(scores.samples) == {sample_count(options, loaded.members)} == {expected}
    assert (scores.score_without is None) == (expected < 3)
    assert scores.score_without is None or scores.score_without.shape == (expected, 3)
    assert scores.mean_probs.sum(axis=1) == pytest.approx([1.0] * 3)
    assert (scores.score >= 0).all()
    assert scores.usable.all()
    assert len(scores.boxes()) == 3


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_answers_do_not_depend_on_company_to_the_bit(
    loaded: LoadedGeneration, rasters: Callable[[int], Rasters], estimator: Estimator
) -> None:
    many = rasters(70)
    options = ScoringOptions(estimator)
    together = score_rasters(loaded, many, options)
    for which in ([0], [69], [3, 65], list(range(10, 40))):
        alone = score_rasters(loaded, many.take(np.array(which)), options)
        for name in PER_OBJECT:
            assert getattr(alone, name).tobytes() == getattr(together, name)[which].tobytes(), name
        assert alone.boxes() == [together.boxes()[i] for i in which]
        if together.score_without is not None:
            assert alone.score_without is not None
            assert alone.score_without.tobytes() == together.score_without[:, which].tobytes()


def test_another_seed_is_another_draw_and_the_same_seed_the_same(
    loaded: LoadedGeneration, rasters: Callable[[int], Rasters]
) -> None:
    own = loaded.manifest.seed
    drawn = [score_rasters(loaded, rasters(4), ScoringOptions(seed=seed)).score.tobytes() for seed in (1, 2, 1, None, own)]
    assert drawn[0] == drawn[2]
    assert drawn[0] != drawn[1]
    assert drawn[3] == drawn[4]


def test_members_of_an_ensemble_disagree(loaded: LoadedGeneration, rasters: Callable[[int], Rasters]) -> None:
    options = ScoringOptions(Estimator.DEEP_ENSEMBLE, Acquisition.MUTUAL_INFORMATION)
    assert (score_rasters(loaded, rasters(4), options).score > 0).all()


def test_a_generation_draws_for_one_estimator_at_a_time(loaded: LoadedGeneration, rasters: Callable[[int], Rasters]) -> None:
    with pytest.raises(ValueError, match="escalate draws by few masks"):
        loaded.draw(rasters(2), Estimator.ESCALATE, 20, 0)


def test_objects_with_values_that_are_not_finite_are_marked() -> None:
    probs, box, log_variance = np.full((3, 5, 2), 0.5), np.zeros((3, 5, 10)), np.zeros((3, 5, 7))
    probs[1, 0, 0] = np.nan
    box[2, 1, 3] = np.inf
    box[0, 2, 0] = 1e6
    log_variance[1, 4, 2] = -np.inf
    with np.errstate(invalid="ignore"):
        summary = summarise(Samples(probs, box, log_variance))
    assert usable_objects(summary).tolist() == [False, False, False, True, False]


class Noting(Host):
    """The host, which notes the crops of each run."""

    def __init__(self) -> None:
        self.crops: list[int] = []

    def place(self, maps: Floats, geometry: Floats) -> list[Run[Floats]]:
        placed = super().place(maps, geometry)
        self.crops += [run.crops for run in placed]
        return placed


def test_warming_up_has_every_member_of_a_sound_generation_draw_for_few_crops_and_for_a_full_run(generation: Artefacts) -> None:
    device = Noting()
    warm_up(LoadedGeneration(generation, device))
    assert device.crops == [2, CROPS_PER_RUN] * len(generation.members)


def test_warming_up_refuses_other_classes_and_masks(generation: Artefacts) -> None:
    other = generation.manifest.model_copy(update={"classes": ("Car", "Background")})
    with pytest.raises(CorruptArtefact, match="known are 9"):
        warm_up(LoadedGeneration(Artefacts(other, generation.members), Provider.CPU))
    narrow = generation.manifest.net.model_copy(update={"embedding": 3})
    manifest = generation.manifest.model_copy(update={"net": narrow})
    with pytest.raises(CorruptArtefact, match="does not run"):
        warm_up(LoadedGeneration(Artefacts(manifest, generation.members), Provider.CPU))


def test_a_registered_generation_scores_as_before(
    tmp_path: Path, generation: Artefacts, loaded: LoadedGeneration, rasters: Callable[[int], Rasters]
) -> None:
    registry = Registry(tmp_path)
    members = {f"member-{k}.onnx": member for k, member in enumerate(generation.members)}
    registered = registry.register(
        members,
        lambda number, name, files: generation.manifest.model_copy(
            update={"number": number, "generation": name, "files": files}
        ),
    )
    again = LoadedGeneration(registry.load(registered.generation), Provider.CPU)
    options = ScoringOptions()
    before, after = (score_rasters(g, rasters(5), options).score for g in (loaded, again))
    assert before.tobytes() == after.tobytes()
