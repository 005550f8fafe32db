"""What lasts is told now and then."""

import pytest

from quandary.errors import Unavailable
from quandary_server.now_and_then import TOLD_AGAIN_S
from quandary_server.selector.outages import Outages


def test_a_problem_that_lasts_is_told_once_in_a_while_and_another_at_once(caplog: pytest.LogCaptureFixture) -> None:
    seconds = 0.0
    outages = Outages(lambda: seconds)
    for _ in range(100):
        outages.tell("log_or_store_away", "a", Unavailable("the disk is away"))
    outages.tell("log_or_store_away", "b", Unavailable("the disk is away"))
    outages.tell("log_or_store_away", "a", Unavailable("the disk is full"))
    assert len(caplog.messages) == 3
    seconds = TOLD_AGAIN_S
    outages.tell("log_or_store_away", "a", Unavailable("the disk is away"))
    assert caplog.messages[0] == caplog.messages[3] == "log_or_store_away source=a problem=the disk is away"
