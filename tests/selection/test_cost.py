import math

import pytest

from quandary_server.selection.cost import LabellingCost


def test_a_frame_costs_itself_and_all_its_proposals() -> None:
    assert LabellingCost(frame_s=10.0, box_s=114.0).seconds([0, 1, 5]).tolist() == [10.0, 124.0, 580.0]


@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf])
def test_an_impossible_time_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="box_s must be finite and >= 0"):
        LabellingCost(10.0, seconds)
