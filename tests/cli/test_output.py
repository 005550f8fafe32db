import subprocess
import sys

import pytest

from quandary.v1 import queue_pb2, scoring_pb2, training_pb2
from quandary_server.cli import output
from quandary_server.cli.output import plain, print_table

COLUMNS = ["#rank", "frame", "?drive", "?generation", "~why"]
ROW = (
    1,
    "frame_of_a_long_name",
    "drive_of_a_long_name",
    "g000001-00000000",
    "It is doubtful in many ways, all of them long to tell.",
)


def test_messages_become_dictionaries_with_numbers_however_nested() -> None:
    stats = queue_pb2.QueueStats(name="queues/active", waiting=2**40, log_lag=3)
    response = queue_pb2.ListQueuesResponse(queues=[stats])
    found = plain({"answer": response, "list": response.queues})
    assert found["answer"]["queues"][0]["waiting"] == 2**40
    assert found["list"][0]["log_lag"] == 3
    assert found["list"][0]["leased"] == 0


def test_maps_enums_and_unset_fields_are_kept_as_they_are() -> None:
    run = training_pb2.Run(name="runs/run-000001", state=training_pb2.RUN_STATE_FAILED, metrics={"nll": 1.5})
    found = plain(run)
    assert found["state"] == "RUN_STATE_FAILED"
    assert found["metrics"] == {"nll": 1.5}
    assert "end_time" not in found
    assert plain(scoring_pb2.FrameScore(seed=2**63))["seed"] == 2**63
    assert plain("text") == "text"
    assert plain([1, None]) == [1, None]


def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int) -> list[str]:
    monkeypatch.setattr(output.out, "width", width)
    print_table(COLUMNS, [ROW], empty="nothing")
    return capsys.readouterr().out.splitlines()


def test_a_wide_table_has_a_row_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    heads, _, row = printed(monkeypatch, capsys, 200)
    assert heads.split() == ["rank", "frame", "drive", "generation", "why"]
    assert all(str(cell) in row for cell in ROW)


def test_a_narrow_table_drops_what_matters_less_and_folds_sentences(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for width, heads in ((100, "rank frame drive generation why"), (80, "rank frame drive why"), (60, "rank frame why")):
        lines = printed(monkeypatch, capsys, width)
        assert lines[0].split() == heads.split()
        assert len(lines) > 3
        assert ROW[1] in lines[2]


def test_where_names_do_not_fit_each_row_is_a_block(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(monkeypatch, capsys, 40)
    assert lines == [
        f"{head:<10}  {cell}" for head, cell in zip(["rank", "frame", "drive", "generation", "why"], ROW, strict=True)
    ] + [""]


def test_a_pipe_has_room_for_everything() -> None:
    code = "from quandary_server.cli.output import print_table; print_table(['a', '~b'], [('x' * 100, 'y ' * 100)], empty='')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={})
    assert len(done.stdout.splitlines()) == 3
