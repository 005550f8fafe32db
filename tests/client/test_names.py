from collections.abc import Callable

import pytest

from quandary import InvalidArgument
from quandary.names import generation_name, queue_name, run_name, task_name


@pytest.mark.parametrize("given", ["active", "queues/active"])
def test_an_id_and_a_name_mean_the_same_queue(given: str) -> None:
    assert queue_name(given) == "queues/active"


def test_the_other_collections() -> None:
    assert run_name("run-000001") == "runs/run-000001"
    assert generation_name("generations/current") == "generations/current"
    assert task_name("active", "frame.1") == "queues/active/tasks/frame.1"


@pytest.mark.parametrize("name", [queue_name, run_name, generation_name])
@pytest.mark.parametrize("given", ["", "queues/", "tasks/x", "a/b", "queues/a/tasks/b", "a b", ".."])
def test_refused(name: Callable[[str], str], given: str) -> None:
    with pytest.raises(InvalidArgument):
        name(given)


def test_a_refused_name_is_called_by_its_kind() -> None:
    with pytest.raises(InvalidArgument) as error:
        run_name("a b")
    assert error.value.violations[0].field == "run"
