"""A candidate beside the current generation, on frames scored of late."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.generations import SMALL, untrained
from support.records import labelled_record, log_record

from quandary import Calibration
from quandary.errors import GateRefused
from quandary.options import ScoringOptions
from quandary_server.detector.examples import Examples
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.registry.directory import Artefacts
from quandary_server.settings.promotion import ShadowSettings
from quandary_server.trainer.labelled import examples_of
from quandary_server.trainer.shadow import check_shadow, shadow_figures

OPTIONS = ScoringOptions(mc_samples=4)
SETTINGS = ShadowSettings(min_frames=10)
NOTHING = Examples.joined([])


@pytest.fixture
def records(calibration: Calibration, tmp_path: Path) -> list[bytes]:
    rng = np.random.default_rng(0)
    made = [labelled_record(calibration, tmp_path, f"f{i}", "drive", rng, at_s=i)[0] for i in range(40)]
    return [log_record(record).payload for record in made]


@pytest.fixture
def control(calibration: Calibration, tmp_path: Path) -> Examples:
    rng = np.random.default_rng(1)
    made = [labelled_record(calibration, tmp_path, f"c{i}", "control", rng, at_s=i) for i in range(40)]
    return Examples.joined([examples_of(record, labels, SMALL.side) for record, labels in made])


def test_a_generation_beside_itself_agrees_wholly(generation: Artefacts, records: list[bytes], control: Examples) -> None:
    loaded = LoadedGeneration(generation)
    found = shadow_figures(loaded, loaded, records, control, OPTIONS, SETTINGS)
    assert found == {
        "shadow_frames": 40.0,
        "shadow_rank_correlation": pytest.approx(1.0),
        "shadow_top_overlap": 1.0,
        "shadow_confidence_drift": 0.0,
        "shadow_ece_drift": 0.0,
    }


def test_another_generation_ranks_otherwise_and_a_sharper_one_is_surer(
    generation: Artefacts, records: list[bytes], control: Examples
) -> None:
    current = LoadedGeneration(generation)
    other = shadow_figures(LoadedGeneration(untrained(SMALL, 3, 50)), current, records, NOTHING, OPTIONS, SETTINGS)
    assert -1 <= other["shadow_rank_correlation"] < 1
    assert "shadow_ece_drift" not in other
    manifest = generation.manifest.model_copy(update={"temperature": 0.1})
    sharp = shadow_figures(
        LoadedGeneration(replace(generation, manifest=manifest)), current, records, control, OPTIONS, SETTINGS
    )
    assert sharp["shadow_confidence_drift"] > 0
    assert all(math.isfinite(value) for value in (*other.values(), *sharp.values()))


def test_too_few_frames_tell_nothing_and_those_without_a_cloud_are_left_out(
    generation: Artefacts, records: list[bytes], tmp_path: Path
) -> None:
    loaded = LoadedGeneration(generation)
    clouds = sorted(tmp_path.glob("*.bin"))
    for cloud in clouds[:35]:
        cloud.unlink()
    assert shadow_figures(loaded, loaded, records, NOTHING, OPTIONS, SETTINGS) == {"shadow_frames": 5.0}
    assert shadow_figures(loaded, loaded, [], NOTHING, OPTIONS, SETTINGS) == {"shadow_frames": 0.0}


def test_bounds_refuse_and_what_is_undetermined_does_not() -> None:
    figures = {"shadow_frames": 40.0, "shadow_rank_correlation": 0.3, "shadow_top_overlap": 0.5}
    check_shadow(figures, SETTINGS)
    strict = ShadowSettings(min_rank_correlation=0.3, min_top_overlap=0.6)
    with pytest.raises(GateRefused, match=r"shadow_top_overlap is 0.500, must be at least 0.6: promote it by hand"):
        check_shadow(figures, strict)
    check_shadow({"shadow_frames": 3.0}, strict)
