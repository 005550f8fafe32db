"""Members that are one function, and members that are not."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from quandary_server.detector.examples import Examples, make_examples
from quandary_server.frustum.raster import Rasters
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.registry.directory import Artefacts
from quandary_server.registry.manifest import member_name, sha256
from quandary_server.settings.gates import GateSettings
from quandary_server.trainer.gates.disagreement import disagreement_gate, least_disagreement

FLOOR = GateSettings().disagreement_floor


@pytest.fixture(scope="module")
def crops(rasters: Callable[[int], Rasters]) -> Examples:
    return make_examples(rasters(12), [None] * 12, "drive", "frame")


def of_members(artefacts: Artefacts, models: list[bytes]) -> LoadedGeneration:
    """Return the generation of these members, as sharp as nets that were fitted."""
    files = {member_name(k): sha256(model) for k, model in enumerate(models)}
    manifest = artefacts.manifest.model_copy(update={"files": files, "temperature": 0.05})
    return LoadedGeneration(replace(artefacts, manifest=manifest, members=tuple(models)))


def test_members_that_differ_pass(generation: Artefacts, crops: Examples) -> None:
    gate = disagreement_gate(of_members(generation, list(generation.members)), crops, FLOOR)
    assert gate.verdict == "passed"
    assert gate.candidate is not None
    assert gate.candidate > FLOOR


def test_equal_files_are_refused_without_a_crop(generation: Artefacts, crops: Examples) -> None:
    first, second, _ = generation.members
    gate = disagreement_gate(of_members(generation, [first, second, first]), crops.take(np.zeros(0, np.intp)), FLOOR)
    assert (gate.verdict, gate.candidate) == ("refused", 0.0)
    assert "members 0 and 2 are the same file" in gate.reason


def test_other_files_of_the_same_function_are_refused(generation: Artefacts, crops: Examples) -> None:
    first, second, _ = generation.members
    # an ONNX file may be followed by a further field: other bytes, the same net
    renamed = second + b"\x12\x01x"
    gate = disagreement_gate(of_members(generation, [first, second, renamed]), crops, FLOOR)
    assert gate.verdict == "refused"
    assert gate.candidate == pytest.approx(0.0, abs=1e-9)
    assert "members 1 and 2 differ least" in gate.reason


def test_a_single_member_and_no_crops_tell_nothing(generation: Artefacts, crops: Examples) -> None:
    alone = disagreement_gate(of_members(generation, [generation.members[0]]), crops, FLOOR)
    unseen = disagreement_gate(of_members(generation, list(generation.members)), crops.take(np.zeros(0, np.intp)), FLOOR)
    assert (alone.verdict, unseen.verdict) == ("undetermined", "undetermined")


def test_two_sure_members_that_contradict_each_other_disagree_without_bound() -> None:
    probs = np.array([[[1.0, 0.0]], [[0.0, 1.0]], [[0.0, 1.0]]])
    assert least_disagreement(probs) == (0.0, 1, 2)
    assert least_disagreement(probs[:2])[0] > 1e8


def test_the_share_is_the_mutual_information_over_the_expected_entropy() -> None:
    probs = np.array([[[0.5, 0.5]], [[1.0, 0.0]]])
    expected = np.log(2) / 2
    total = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    assert least_disagreement(probs)[0] == pytest.approx((total - expected) / expected)
