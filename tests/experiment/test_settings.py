from pathlib import Path

import pytest
import yaml
from experiment.conftest import SMALL, toy_settings
from pydantic import ValidationError

from quandary.errors import InvalidArgument
from quandary_server.detector.settings import FitSettings
from quandary_server.experiment.settings import (
    PACKAGED,
    ExperimentSettings,
    HeldOutSettings,
    StepsSettings,
    load_experiment,
)
from quandary_server.experiment.yaml_file import read_yaml


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
        ({"methods": {"bald": 2}}, "replays.main.methods"),
        ({"methods": {"random": 0}}, "replays.main.methods.random"),
        ({"budgets": (20, 10)}, "replays.main.budgets"),
        ({"budgets": (1, 10)}, "replays.main.budgets.0"),
        ({"stop_at": 5}, "replays.main.stop_at"),
        ({"stop_at": 11}, "replays.main.stop_at"),
        ({"judge": True, "full_pool": False}, "replays.main.judge"),
        ({"methods": {"mi_box": 2}}, "replays.main.methods"),
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
        ({"steps": {"least": 300, "most": 200}}, "least is 300, must be at most most, 200"),
        ({"net": {"dropout": 0}}, "all masks of mc_mi would be the same"),
    ],
)
def test_what_would_come_to_nothing_is_refused(change: dict[str, object], problem: str) -> None:
    document = toy_settings(methods={"random": 1, "mc_mi": 1, "mi_box": 1}).model_dump()
    with pytest.raises(ValidationError, match=problem):
        ExperimentSettings.model_validate(document | change)


NET, FIT = SMALL.model_dump(mode="json"), FitSettings().model_dump()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"net": NET | {"channels": []}}, "net.channels is [], must be 3 numbers, one for each convolution"),
        ({"net": NET | {"channels": [8, 8, 8, 8]}}, "net.channels is [8, 8, 8, 8], must be 3 numbers"),
        ({"net": NET | {"channels": [8, 0, 8]}}, "net.channels.1 is 0, must be greater than or equal to 1"),
        ({"net": NET | {"channels": [8, 8, -8]}}, "net.channels.2 is -8, must be greater than or equal to 1"),
        ({"net": NET | {"channels": [10**6, 8, 8]}}, "net.channels.0 is 1000000, must be less than or equal to 1024"),
        ({"net": NET | {"channels": [8, 8.5, 8]}}, "net.channels.1 is 8.5, must be a valid integer"),
        ({"net": NET | {"channels": [8, 8, "wide"]}}, "net.channels.2 is wide, must be a valid integer"),
        (
            {"net": NET | {"side": 256, "channels": [64, 64, 512], "image_embedding": 1024}},
            "net.channels is [64, 64, 512] with side 256, image_embedding 1024, must be of at most 50,000,000 weights together",
        ),
        ({"net": NET | {"side": 25}}, "net.side is 25, must be a multiple of 8"),
        ({"net": NET | {"dropout": float("nan")}}, "net.dropout is nan, must be less than 1"),
        ({"fit": FIT | {"steps": 100}}, "fit.steps is 100, must be left out, or 600: steps tells how many there are"),
        ({"fit": FIT | {"learning_rate": float("nan")}}, "fit.learning_rate is nan, must be less than or equal to 1"),
        ({"steps": {"at_1000": 10**30}}, f"steps.at_1000 is {10**30}, must be less than or equal to 1000000"),
        ({"steps": {"growth": float("nan")}}, "steps.growth is nan, must be less than or equal to 1"),
        ({"cost": {"seconds_per_box": 1e308}}, "cost.seconds_per_box is 1e+308, must be less than or equal to 86400"),
        ({"cost": {"seconds_per_crop": float("nan")}}, "cost.seconds_per_crop is nan, must be less than or equal to 86400"),
        ({"cost": {"euros_per_hour": float("inf")}}, "cost.euros_per_hour is inf, must be less than or equal to 10000"),
        ({"targets": [0.98, 0.98]}, "targets is [0.98, 0.98], must be shares that differ"),
        ({"members": True}, "members is True, must be greater than or equal to 2"),
        ({"seed": True}, "seed is True, must be a number"),
        ({"replays": {}}, "replays is empty, must be at least one, or held_out"),
    ],
)
def test_an_odd_value_is_named_with_its_bound(tmp_path: Path, change: dict[str, object], told: str) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(toy_settings().model_dump(mode="json") | change))
    with pytest.raises(InvalidArgument) as caught:
        load_experiment(str(path))
    assert told in "; ".join(map(str, caught.value.violations))


@pytest.mark.parametrize(
    ("pool", "told"),
    [
        ({"source": {"kind": "fleet", "fleet": {"pool_drives": -1}}}, "fleet.pool_drives is -1, must be 0 to 1000"),
        ({"source": {"kind": "fleet", "fleet": {"pool_drivs": 5}}}, "fleet.pool_drivs is 5, must be Unexpected keyword"),
        ({"source": {"kind": "fleet", "fleet": {"pool_drives": True}}}, "fleet.pool_drives is True, must be a number"),
        (
            {"source": {"kind": "folder"}, "noise": {"shift": float("nan")}},
            "noise.shift is nan, must be less than",
        ),
        ({"source": {"kind": "folder"}, "noise": {"missed": 1.0}}, "noise.missed is 1.0, must be less than 1"),
    ],
)
def test_an_odd_pool_is_named_with_its_bound(tmp_path: Path, pool: dict[str, object], told: str) -> None:
    document = toy_settings().model_dump(mode="json")
    document["replays"]["main"]["pool"] = pool
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(InvalidArgument) as caught:
        load_experiment(str(path))
    assert told in str(caught.value)
    assert "replays.main.pool." in str(caught.value)


@pytest.mark.parametrize(
    ("classes", "problem"),
    [(["Car", "Car"], "classes is Car, Car, must be classes that differ"), (["Bus"], "classes is Bus, must be some of Car")],
)
def test_classes_to_leave_out_are_known_and_named_once(classes: list[str], problem: str) -> None:
    pool = toy_settings().replays["main"].pool
    with pytest.raises(ValidationError, match=problem):
        HeldOutSettings.model_validate({"pool": pool.model_dump(), "classes": classes})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("title: a\nseed: 1\ntitle: b\n", "key title stands twice: in line 1 and in line 3"),
        ("replays:\n  main:\n    methods: {random: 1, random: 2}\n", "key random stands twice: in line 3 and in line 3"),
        ("replays:\n  main: {}\n  other: {}\n  main: {}\n", "key main stands twice: in line 2 and in line 4"),
        ("title: 2026-13-45\n", "month must be in 1..12"),
        (f"seed: {'9' * 5000}\n", "4300 digits"),
        ("net: " + "[" * 3000, "recursion"),
    ],
)
def test_yaml_that_means_two_things_or_nothing_is_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(text)
    with pytest.raises(InvalidArgument, match=told):
        load_experiment(str(path))


def test_what_is_merged_in_may_be_told_again() -> None:
    text = b"a: &a {x: 1}\nb: {deep: {base: &b {<<: *a, x: 2}}}\nc: {<<: *b, x: 3}\n"
    assert read_yaml("merged.yaml", text) == {"a": {"x": 1}, "b": {"deep": {"base": {"x": 2}}}, "c": {"x": 3}}


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


def test_the_trainings_without_a_class_are_a_part_by_themselves() -> None:
    full = load_experiment("full")
    alone = full.part(["held_out"], [])
    assert (alone.replays, alone.held_out) == ({}, full.held_out)
    assert ExperimentSettings.model_validate_json(alone.model_dump_json()) == alone
    few = full.part(["held_out"], [], seeds=1).held_out
    assert few is not None
    assert few.seeds == 1
    beside = full.part(["main", "held_out"], ["default"])
    assert (set(beside.replays), beside.held_out) == ({"main"}, full.held_out)


@pytest.mark.parametrize(
    ("replays", "methods", "field"),
    [(["mian"], [], "only"), (["kitti"], ["k_centre"], "method"), (["held_out"], ["default"], "method")],
)
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
