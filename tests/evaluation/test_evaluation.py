import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quandary.geometry import Box3D
from quandary_server.evaluation.bootstrap import grouping, macro_recall_interval, paired_interval, resampled_interval
from quandary_server.evaluation.boxes import centre_errors, ious, parameter_errors, size_errors
from quandary_server.evaluation.classes import frequent_classes, macro_recall, recalls

UNIT = Box3D(0.0, 0.0, 0.0, 2.0, 2.0, 2.0, 0.0)


def moved(dx: float = 0.0, dz: float = 0.0, yaw: float = 0.0) -> Box3D:
    return Box3D(dx, 0.0, dz, 2.0, 2.0, 2.0, yaw)


def test_iou_closed_forms() -> None:
    others = [UNIT, moved(dx=1.0), moved(dz=1.0), moved(dx=5.0), moved(yaw=np.pi / 2), moved(dz=2.5)]
    assert ious([UNIT] * 6, others) == pytest.approx([1.0, 1 / 3, 1 / 3, 0.0, 1.0, 0.0])


def test_iou_of_a_square_turned_by_45_degrees_is_an_octagon() -> None:
    octagon = 8 * (np.sqrt(2) - 1)
    assert ious([UNIT], [moved(yaw=np.pi / 4)]) == pytest.approx([octagon / (8 - octagon)])


@given(
    st.tuples(st.floats(-3, 3), st.floats(-3, 3), st.floats(-1, 1)),
    st.tuples(st.floats(0.5, 4), st.floats(0.5, 4), st.floats(0.5, 4)),
    st.floats(-3.1, 3.1),
)
def test_iou_is_symmetric_and_bounded(
    centre: tuple[float, float, float], extents: tuple[float, float, float], yaw: float
) -> None:
    box = Box3D(*centre, *extents, yaw)
    forth, back = ious([UNIT], [box])[0], ious([box], [UNIT])[0]
    assert 0 <= forth <= 1
    assert forth == pytest.approx(back)


def test_errors_in_metres() -> None:
    assert centre_errors([UNIT], [Box3D(3.0, 4.0, 0.0, 2.0, 2.0, 2.0, 0.0)]) == pytest.approx([5.0])
    assert size_errors([UNIT], [Box3D(0.0, 0.0, 0.0, 5.0, 2.0, 2.0, 0.0)]) == pytest.approx([1.0])
    assert len(ious([], [])) == 0


def test_macro_recall_weighs_classes_alike_and_passes_over_the_absent() -> None:
    truth, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0])
    assert recalls(truth, predicted, [0, 1, 2]) == {0: 1.0, 1: 0.0}
    assert macro_recall(truth, predicted, [0, 1, 2]) == 0.5
    with pytest.raises(ValueError, match="none of the classes"):
        macro_recall(truth, predicted, [2])


def test_interval_holds_the_mean_and_widens_by_group() -> None:
    rng = np.random.default_rng(0)
    per_group = rng.normal(0.0, 1.0, 20)
    differences = np.repeat(per_group, 30)
    alone = paired_interval(differences, [str(i) for i in range(600)], rng)
    grouped = paired_interval(differences, [str(i // 30) for i in range(600)], rng)
    assert alone[0] < differences.mean() < alone[1]
    assert grouped[1] - grouped[0] > 3 * (alone[1] - alone[0])


def test_where_nothing_differs_eight_groups_say_so_as_often_as_promised() -> None:
    rng, trials = np.random.default_rng(3), 1000
    groups = [str(i // 5) for i in range(40)]
    above = below = 0
    for _ in range(trials):
        differences = np.repeat(rng.normal(0, 1, 8), 5) + rng.normal(0, 0.5, 40)
        low, high = paired_interval(differences, groups, rng)
        above += low > 0
        below += high < 0
    # 2.5 % on each side is promised; plain percentiles give 5 to 8 %
    assert max(above, below) / trials < 0.05
    assert min(above, below) / trials > 0.005


def test_one_group_has_no_interval() -> None:
    with pytest.raises(ValueError, match="at least 2 groups, there is 1"):
        paired_interval(np.ones(9), ["a"] * 9, np.random.default_rng(0))


def test_equal_answers_differ_by_nothing() -> None:
    assert paired_interval(np.zeros(10), list("aabbccddee"), np.random.default_rng(1)) == (0.0, 0.0)


def test_the_interval_of_the_macro_recall_holds_it_and_widens_with_fewer_groups() -> None:
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 3, 900)
    predicted = np.where(rng.random(900) < 0.7, truth, (truth + 1) % 3)
    value = macro_recall(truth, predicted, [0, 1, 2])
    many = macro_recall_interval(truth, predicted, [0, 1, 2], [str(i) for i in range(900)], rng)
    few = macro_recall_interval(truth[:60], predicted[:60], [0, 1, 2], [str(i) for i in range(60)], rng)
    assert many[0] < value < many[1]
    assert few[1] - few[0] > 2 * (many[1] - many[0])


def test_a_class_that_a_draw_lacks_does_not_count_in_it() -> None:
    truth, predicted = np.array([0] * 9 + [1]), np.array([0] * 9 + [1])
    low, high = macro_recall_interval(truth, predicted, [0, 1], list("aaabbbcccd"), np.random.default_rng(0))
    assert (low, high) == (1.0, 1.0)


def test_few_drives_are_resampled_by_frame() -> None:
    frames = [f"f{i}" for i in range(20)]
    assert grouping(["a", "b"] * 10, frames) is frames
    many = [f"d{i % 8}" for i in range(20)]
    assert grouping(many, frames) is many


def test_any_figure_of_whole_groups_has_an_interval() -> None:
    values, groups = np.repeat([1.0, 2.0, 3.0, 4.0], 5), [str(i // 5) for i in range(20)]
    seen: list[int] = []

    def mean(drawn: np.ndarray) -> float:
        seen.append(len(drawn))
        return float(values[drawn].mean())

    interval = resampled_interval(mean, groups, np.random.default_rng(0), draws=400)
    assert interval == paired_interval(values, groups, np.random.default_rng(0), draws=400)
    assert set(seen) == {20}


def test_a_figure_that_many_draws_tell_nothing_of_has_no_interval() -> None:
    groups = [str(i) for i in range(10)]
    rng = np.random.default_rng(0)
    assert resampled_interval(lambda drawn: 1.0 if 0 in drawn else None, groups, rng) is None
    assert resampled_interval(lambda drawn: 1.0 if len(set(drawn)) > 3 else None, groups, rng) == (1.0, 1.0)


def test_a_box_and_its_reverse_have_the_same_yaw() -> None:
    heading = np.array([0.3, 0.3 + np.pi, 0.4])
    boxes = np.column_stack([np.zeros((3, 6)), np.sin(2 * heading), np.cos(2 * heading), np.sin(heading), np.cos(heading)])
    errors = parameter_errors(np.repeat(boxes[:1], 3, axis=0), boxes)
    assert errors[:, 6] == pytest.approx([0.0, 0.0, 0.1])
    assert (errors[:, :6] == 0).all()


def test_frequent_classes_are_those_that_occur_often_enough() -> None:
    assert frequent_classes(np.array([0, 2, 2, 4, 4, 4]), classes=6, least=2) == [2, 4]
