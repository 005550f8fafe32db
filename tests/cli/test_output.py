from quandary.v1 import queue_pb2, scoring_pb2, training_pb2
from quandary_server.cli.output import plain


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
