import pytest

from quandary.errors import InvalidArgument
from quandary.names import generation_name, queue_name, run_name, task_name
from quandary_server.wire.names import identifier_of, task_of


def test_names_are_read_as_they_are_written() -> None:
    assert identifier_of("queue", queue_name("active"), "queues") == "active"
    assert identifier_of("name", run_name("run-000001"), "runs") == "run-000001"
    assert identifier_of("name", generation_name("current"), "generations") == "current"
    assert task_of("name", task_name("active", "a.b_c-1")) == ("active", "a.b_c-1")


@pytest.mark.parametrize("name", ["", "active", "queues/", "queues/a b", "queue/active", "queues/a/b", "queues/.."])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        identifier_of("queue", name, "queues")
    assert caught.value.violations[0].field == "queue"


@pytest.mark.parametrize("name", ["queues/a/tasks/", "queues/a/task/b", "tasks/b", "queues/a/tasks/b/c", "queues//tasks/b"])
def test_other_task_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidArgument):
        task_of("name", name)
