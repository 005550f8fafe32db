"""Reading resource names: queues/{queue}/tasks/{task}, runs/{run}, generations/{generation}."""

from quandary.errors import InvalidArgument
from quandary.frames import check_identifier


def identifier_of(field: str, name: str, collection: str) -> str:
    """Return the id in `{collection}/{id}`; raises InvalidArgument for another shape."""
    head, _, tail = name.partition("/")
    if head != collection:
        raise InvalidArgument.of(field, repr(name), f"{collection}/{{id}}")
    return check_identifier(field, tail)


def task_of(field: str, name: str) -> tuple[str, str]:
    """Return queue and frame id of queues/{queue}/tasks/{frame_id}; raises InvalidArgument for another shape."""
    parts = name.split("/")
    if len(parts) != 4 or (parts[0], parts[2]) != ("queues", "tasks"):
        raise InvalidArgument.of(field, repr(name), "queues/{queue}/tasks/{frame_id}")
    return check_identifier(field, parts[1]), check_identifier(field, parts[3])
