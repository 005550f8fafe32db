"""The studies from end to end, on drives of a few frames and nets that are hardly trained."""

from pathlib import Path

import numpy as np
import pytest
from experiment.conftest import SMALL

from quandary.errors import InvalidArgument
from quandary.labels import BACKGROUND, CLASSES, LABEL_CLASSES
from quandary_server.bench.figures import Figure
from quandary_server.detector.settings import FitSettings
from quandary_server.experiment.pools.build import KITTI_VARIABLE
from quandary_server.experiment.study.looks import real_statistics, simulated_statistics
from quandary_server.experiment.study.match import REAL, Answers, Match, MatchSettings, matched
from quandary_server.experiment.study.match_figures import (
    LOOKS_COLUMNS,
    RECALL_COLUMNS,
    looks_rows,
    match_figures,
    recall_rows,
)
from quandary_server.experiment.study.sources import real_frames
from quandary_server.experiment.study.trial_figures import COLUMNS, study_figures, study_rows
from quandary_server.experiment.study.trials import COSTS, KITTI, MEASURES, SIMULATED, StudySettings, studied
from quandary_server.experiment.study.variants import DEFAULT, Variant
from quandary_server.simulator.fleet import simulate_fleet
from quandary_server.simulator.settings import FleetSettings

FLEET = FleetSettings(pool_drives=1, control_drives=1, evaluation_drives=0, frames_per_drive=6, seed=5)
STEPS = FitSettings(steps=2, batch=8)
VARIANTS = (Variant(DEFAULT, SMALL, STEPS), Variant("hidden_8", SMALL.model_copy(update={"hidden": 8}), STEPS, {"hidden": 8}))


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Simulated frames in the place of real ones."""
    folder = tmp_path_factory.mktemp("frames") / "real"
    simulate_fleet(folder, FleetSettings(pool_drives=1, control_drives=1, evaluation_drives=1, frames_per_drive=6, seed=6))
    return folder


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pools are kept."""
    return tmp_path_factory.mktemp("pools")


def by_name(figures: list[Figure]) -> dict[str, Figure]:
    found = {figure.name: figure for figure in figures}
    assert len(found) == len(figures)
    assert all(np.isfinite(figure.value) for figure in figures)
    return found


def untold(*_: object) -> None:
    """Nobody watches."""


@pytest.mark.usefixtures("ray_cluster")
def test_the_study_tries_every_variant_on_every_source_and_tells_each_figure(stand_in: Path, pools: Path) -> None:
    settings = StudySettings(seeds=2, kitti=stand_in, variants=VARIANTS, crops=20, mc_samples=2, fleet=FLEET)
    told: list[tuple[int, int, str]] = []
    trials = studied(settings, pools, untold, lambda *args: told.append(args))

    assert [(t.variant, t.source, t.seed) for t in trials] == [
        (v.name, source, seed) for v in VARIANTS for source in (SIMULATED, KITTI) for seed in (0, 1)
    ]
    assert [done for done, _, _ in told] == list(range(1, 9))
    figures = by_name(study_figures(settings, trials))
    assert set(figures) == {"study"} | {
        f"{v.name}_{name}" for v in VARIANTS for name in (*MEASURES, *(f"kitti_{m}" for m in MEASURES), *COSTS)
    }
    own = [t.found["nll"] for t in trials if (t.variant, t.source) == (DEFAULT, SIMULATED)]
    assert figures["default_nll"].value == pytest.approx(np.mean(own), rel=1e-4)
    assert own[0] != own[1]
    assert figures["hidden_8_step_ms"].value > 0

    rows = study_rows(settings, list(figures.values()), KITTI)
    assert [len(row) for row in rows] == [len(COLUMNS)] * 2
    assert [row[0].startswith("DEFAULT") for row in rows] == [True, False]
    assert rows[1][0] == "hidden 8"
    assert "-" not in rows[0] + rows[1]


@pytest.mark.usefixtures("ray_cluster")
def test_the_study_needs_a_class_of_objects_to_judge_by(pools: Path) -> None:
    few = FleetSettings(pool_drives=1, control_drives=1, evaluation_drives=0, frames_per_drive=1, seed=5)
    with pytest.raises(InvalidArgument, match="control drives"):
        studied(StudySettings(variants=VARIANTS[:1], fleet=few), pools, untold, untold)


@pytest.mark.usefixtures("ray_cluster")
def test_two_folders_are_matched(stand_in: Path, pools: Path) -> None:
    settings = MatchSettings(stand_in, seeds=2, net=SMALL, fit=STEPS, mc_samples=2, narrow=lambda _: FLEET, wide=FLEET)
    match = matched(settings, pools, untold, untold)
    figures = by_name(match_figures(match))

    assert (figures["match_car_points"].reach, figures["match_background_points"].reach) == ("<= 5", "")
    sample = figures["match_car_points"].samples[0]
    assert sample["interval"][0] <= sample["real_less_simulated"] <= sample["interval"][1]
    difference = 100 * (figures["recall_car_real"].value - figures["recall_car_simulated"].value)
    assert sample["real_less_simulated"] == pytest.approx(difference, abs=0.01)
    assert len(figures["recall_car_sim_to_real"].samples) == 2
    for source in ("real", "simulated", "published"):
        shares = [figures[f"share_{name.lower()}_{source}"].value for name in LABEL_CLASSES]
        assert sum(shares) == pytest.approx(100, abs=0.01)
    assert 0 < figures["share_background_real"].value < 100
    # a crop holds what is in the box, and more
    assert figures["crop_points_car_real"].value > figures["box_points_car_real"].value > 0
    assert len(figures["box_points_car_simulated"].samples) == 3

    everything = list(figures.values())
    assert {len(row) for row in looks_rows(everything)} == {len(LOOKS_COLUMNS)}
    assert {len(row) for row in recall_rows(everything)} == {len(RECALL_COLUMNS)}
    assert looks_rows(everything)[-1][0] == BACKGROUND


def test_the_interval_of_the_match_is_over_frames_not_crops() -> None:
    """Crops of a frame are all right or all wrong: a hundred of them in four frames tell no more than four."""

    def compared(crops_per_frame: int) -> tuple[float, float]:
        right = np.repeat([0.0, 1.0, 1.0, 1.0], crops_per_frame)
        car, van = CLASSES.index("Car"), CLASSES.index("Van")
        classes, predicted = np.full(len(right), car), np.where(right > 0, car, van)
        frames = np.repeat([f"drive/{i}" for i in range(4)], crops_per_frame)
        answers = [Answers(judged, 0, classes, predicted, frames) for judged in (REAL, "simulated")]
        (figure,) = (f for f in match_figures(Match(1, {}, {}, answers)) if f.name == "match_car_points")
        assert figure.samples[0]["frames"] == {"real": 4, "simulated": 4}
        low, high = figure.samples[0]["interval"]
        return low, high

    assert compared(25) == compared(1)
    assert compared(25)[1] > 25


def test_points_in_boxes_are_the_same_read_from_a_folder_and_simulated(stand_in: Path) -> None:
    fleet = FleetSettings(pool_drives=1, control_drives=0, evaluation_drives=0, frames_per_drive=2, seed=7)
    folder = stand_in.with_name("same")
    simulate_fleet(folder, fleet)
    written, made = real_statistics(folder), simulated_statistics(fleet)
    assert written.classes.keys() == made.classes.keys()
    for name, found in made.classes.items():
        # what is written is rounded
        assert written.classes[name].points == pytest.approx(found.points, abs=3)


def test_real_frames_are_those_given_or_those_of_the_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(KITTI_VARIABLE, raising=False)
    assert real_frames(None) is None
    monkeypatch.setenv(KITTI_VARIABLE, str(tmp_path))
    assert real_frames(None) == tmp_path
    assert real_frames(tmp_path / "..") == tmp_path / ".."
    with pytest.raises(InvalidArgument, match="a folder in the KITTI layout"):
        real_frames(tmp_path / "missing")
