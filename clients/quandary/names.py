"""Resource names, as the contract writes them: queues/active, runs/run-000001, generations/current."""

from quandary.frames import check_identifier

__all__ = ["generation_name", "queue_name", "run_name", "task_name"]


def queue_name(queue: str) -> str:
    """Return queues/{queue} for a queue's id or name; raises InvalidArgument for a malformed one."""
    return _in_collection("queue", queue)


def task_name(queue: str, frame_id: str) -> str:
    """Return queues/{queue}/tasks/{frame_id}; raises InvalidArgument for a malformed part."""
    return f"{queue_name(queue)}/tasks/{check_identifier('frame_id', frame_id)}"


def run_name(run: str) -> str:
    """Return runs/{run} for a run's id or name; raises InvalidArgument for a malformed one."""
    return _in_collection("run", run)


def generation_name(generation: str) -> str:
    """Return generations/{generation} for a generation's id or name; raises InvalidArgument for a malformed one."""
    return _in_collection("generation", generation)


def _in_collection(kind: str, value: str) -> str:
    return f"{kind}s/{check_identifier(kind, value.removeprefix(f'{kind}s/'))}"
