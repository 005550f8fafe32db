import pytest

from quandary_server.registry.manifest import GateRecord
from quandary_server.storage.task_values import QueueStats
from quandary_server.trainer.gates.verdicts import undetermined
from quandary_server.wire.tasks import stats_message
from quandary_server.wire.training import gate_message

OLDER = GateRecord(gate="nll_floor", verdict="undetermined", candidate=0.0, reason="0 labelled crops of control drives")


@pytest.mark.parametrize("gate", [undetermined("nll", "no crops"), OLDER])
def test_what_was_not_measured_is_no_perfect_figure(gate: GateRecord) -> None:
    assert not gate_message(gate).HasField("candidate")


def test_a_measured_figure_is_told_though_it_is_zero() -> None:
    gate = GateRecord(gate="onnx_parity", verdict="passed", candidate=0.0, reason="equal")
    assert gate_message(gate).HasField("candidate")


def test_nothing_is_behind_before_there_is_a_generation() -> None:
    stats = QueueStats("active", 3, 0, 0, 0, 0, 0, unscored=3, behind=3, oldest_waiting=None, rejected=0)
    assert not stats_message(stats, generation="", ranked_generation="", log_lag=0).HasField("behind")
    assert stats_message(stats, generation="g1", ranked_generation="", log_lag=0).behind == 3
