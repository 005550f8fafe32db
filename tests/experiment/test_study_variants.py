import pytest

from quandary_server.detector.settings import FitSettings, NetSettings
from quandary_server.experiment.study.variants import AXES, DEFAULT, Axis, all_variants, variant


def test_the_variants_are_distinct_and_the_default_comes_first() -> None:
    variants = all_variants()
    assert variants[0].name == DEFAULT
    assert (variants[0].net, variants[0].fit, variants[0].changes) == (NetSettings(), FitSettings(), {})
    assert len({v.name for v in variants}) == len(variants)
    assert len({(v.net, v.fit) for v in variants}) == len(variants)


@pytest.mark.parametrize("axis", AXES, ids=lambda axis: axis.name)
def test_every_axis_holds_the_default_and_something_else(axis: Axis) -> None:
    names = [variant(axis, value).name for value in axis.values]
    assert names.count(DEFAULT) == 1
    assert len(names) > 1


def test_a_variant_says_what_it_changes_and_changes_nothing_else() -> None:
    for v in all_variants():
        settings = {**v.net.model_dump(), **v.fit.model_dump()}
        default = {**NetSettings().model_dump(), **FitSettings().model_dump()}
        assert settings == {**default, **v.changes}


def test_batches_see_as_many_crops_as_the_default() -> None:
    (axis,) = [axis for axis in AXES if axis.name == "batch"]
    default = FitSettings()
    for value in axis.values:
        fit = variant(axis, value).fit
        assert fit.batch * fit.steps == default.batch * default.steps
