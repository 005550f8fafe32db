import numpy as np
import pytest

from quandary_server.evaluation.ranking import top_overlap

RAMP = np.arange(20.0)


def test_the_same_ranking_keeps_all_and_the_reverse_nothing() -> None:
    assert top_overlap(3 * RAMP + 1, RAMP) == 1.0
    assert top_overlap(-RAMP, RAMP) == 0.0


def test_half_of_the_top_two() -> None:
    swapped = RAMP.copy()
    swapped[[0, 18]] = swapped[[18, 0]]
    assert top_overlap(swapped, RAMP) == 0.5
    assert top_overlap(swapped, RAMP, share=1.0) == 1.0


def test_at_least_one_is_the_top_and_of_equals_the_first() -> None:
    assert top_overlap(np.array([1.0, 1.0]), np.array([2.0, 1.0])) == 1.0
    assert top_overlap(np.array([1.0, 1.0]), np.array([1.0, 2.0])) == 0.0


@pytest.mark.parametrize(("scores", "share"), [(RAMP[:0], 0.1), (RAMP[:3], 0.1), (RAMP, 0.0), (RAMP, 1.1)])
def test_what_has_no_overlap_is_refused(scores: np.ndarray, share: float) -> None:
    reference = scores if len(scores) != 3 else RAMP
    with pytest.raises(ValueError, match="must be"):
        top_overlap(scores, reference, share)
