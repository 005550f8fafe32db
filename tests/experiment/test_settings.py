from pathlib import Path

import pytest
import yaml
from experiment.conftest import toy_settings
from pydantic import ValidationError

from quandary.errors import InvalidArgument
from quandary_server.experiment.settings import (
    PACKAGED,
    ExperimentSettings,
    HeldOutSettings,
    StepsSettings,
    load_experiment,
)


@pytest.mark.parametrize("name", PACKAGED)
def test_the_packaged_experiments_are_sound_and_have_the_random_arm(name: str) -> None:
    settings = load_experiment(name)
    for replay in settings.replays.values():
        assert replay.methods["random"] == max(replay.methods.values())


def test_the_full_experiment_gives_the_headline_methods_all_seeds_and_the_others_two() -> None:
    methods = load_experiment("full").replays["main"].methods
    assert {name for name, seeds in methods.items() if seeds >= 10} >= {"random", "softmax_entropy", "mc_mi", "default"}
    assert min(methods.values()) >= 2


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"methods": {"bald": 2}}, "replays.main"),
        ({"methods": {"random": 0}}, "replays.main.methods.random"),
        ({"budgets": (20, 10)}, "replays.main"),
        ({"budgets": (1, 10)}, "replays.main.budgets.0"),
        ({"stop_at": 5}, "replays.main"),
        ({"stop_at": 11}, "replays.main"),
        ({"judge": True, "full_pool": False}, "replays.main"),
        ({"methods": {"mi_box": 2}}, "replays.main"),
        ({"pool": {"source": {"kind": "snapshot", "path": "a"}, "held_out_every": 2}}, "replays.main.pool"),
        ({"pool": {"source": {"kind": "snapshot", "path": "a"}, "proposals": "detections"}}, "replays.main.pool"),
        ({"unit": "drive"}, "replays.main.unit"),
        ({"colour": "red"}, "replays.main.colour"),
        ({"pool": {"source": {"kind": "folder"}, "evaluation": ["control", "control"]}}, "replays.main.pool.evaluation"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, change: dict[str, object], field: str) -> None:
    document = toy_settings().model_dump(mode="json")
    document["replays"]["main"] |= {k: list(v) if isinstance(v, tuple) else v for k, v in change.items()}
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(InvalidArgument) as caught:
        load_experiment(str(path))
    assert field in [violation.field for violation in caught.value.violations]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"cost": {"seconds_per_box": float("inf")}}, "a finite number"),
        ({"steps": {"least": 300, "most": 200}}, "least is 300, must be at most most, 200"),
        ({"net": {"dropout": 0}}, "all masks of mc_mi would be the same"),
    ],
)
def test_what_would_come_to_nothing_is_refused(change: dict[str, object], problem: str) -> None:
    document = toy_settings(methods={"random": 1, "mc_mi": 1, "mi_box": 1}).model_dump()
    with pytest.raises(ValidationError, match=problem):
        ExperimentSettings.model_validate(document | change)


@pytest.mark.parametrize(
    ("classes", "problem"), [(["Car", "Car"], "must name each class once"), (["Bus"], "classes Bus are unknown")]
)
def test_classes_to_leave_out_are_known_and_named_once(classes: list[str], problem: str) -> None:
    pool = toy_settings().replays["main"].pool
    with pytest.raises(ValidationError, match=problem):
        HeldOutSettings.model_validate({"pool": pool.model_dump(), "classes": classes})


def test_a_part_has_the_replays_and_methods_that_are_named_and_random() -> None:
    full = load_experiment("full")
    few = full.part([], [], seeds=2)
    assert {seeds for replay in few.replays.values() for seeds in replay.methods.values()} == {2}
    assert few.held_out is None
    part = full.part(["main"], ["default"])
    assert {name: replay.methods for name, replay in part.replays.items()} == {"main": {"random": 10, "default": 10}}
    assert part.held_out is None
    assert part.replays["main"].pool == full.replays["main"].pool
    assert full.part([], []) == full


def test_a_part_leaves_out_replays_that_have_none_of_the_methods() -> None:
    part = load_experiment("full").part([], ["k_centre"])
    assert {name: set(replay.methods) for name, replay in part.replays.items()} == {"main": {"random", "k_centre"}}


@pytest.mark.parametrize(("replays", "methods", "field"), [(["mian"], [], "only"), (["kitti"], ["k_centre"], "method")])
def test_a_part_that_is_not_there_is_refused(replays: list[str], methods: list[str], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        load_experiment("full").part(replays, methods)
    assert [violation.field for violation in caught.value.violations] == [field]


@pytest.mark.parametrize("content", [b"replays: [", b"- 1\n- 2", b"\x00", b"\x89PNG", b""])
def test_what_is_no_experiment_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_bytes(content)
    with pytest.raises(InvalidArgument):
        load_experiment(str(path))


def test_a_file_that_is_not_there_is_told_with_what_is_packaged() -> None:
    with pytest.raises(InvalidArgument, match="full, quick"):
        load_experiment("nowhere.yaml")


def test_steps_grow_with_the_root_of_the_labels_between_their_bounds() -> None:
    steps = StepsSettings(at_1000=400, growth=0.5, least=100, most=700)
    assert [steps.steps(labels) for labels in (10, 250, 1000, 2250, 100_000)] == [100, 200, 400, 600, 700]
