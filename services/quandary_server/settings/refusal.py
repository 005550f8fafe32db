"""What pydantic refuses, told as Quandary tells it."""

from collections.abc import Sequence
from typing import get_args, get_origin

from pydantic import BaseModel, ValidationError

from quandary.errors import InvalidArgument, Violation, shortened

__all__ = ["refused"]

DURATION = "a duration: PT8H, PT1M30S, P1D, or 08:00:00"


def refused(error: ValidationError, model: type[BaseModel] | None = None) -> InvalidArgument:
    """Return what pydantic refused as InvalidArgument, naming each field with its value and bound.

    model: what was to be made; with it an unknown name is told beside those that there are.
    """
    found: list[Violation] = []
    for e in error.errors():
        path, inner = ".".join(map(str, e["loc"])), e.get("ctx", {}).get("error")
        if isinstance(inner, InvalidArgument):
            # a check of several fields names the one itself
            found += (inner.moved_under(path) if path else inner).violations
        elif e["type"] == "extra_forbidden" and model and (names := _beside(e["loc"], model)):
            found.append(Violation(path, "no setting", f"one of {', '.join(names)}"))
        else:
            bound = DURATION if e["type"] in ("time_delta_parsing", "time_delta_type") else _bound(e["msg"])
            found.append(Violation(path, shortened(e.get("input")), bound))
    return InvalidArgument.all(found)


def _beside(path: Sequence[int | str], section: type[BaseModel]) -> list[str]:
    """Return the names that there are where the last of a path is; none where that is not told by types."""
    for name in path[:-1]:
        if isinstance(name, int):
            continue  # of a tuple, whose items are told by its type
        field = section.model_fields.get(name)
        inner = field.annotation if field else None
        if get_origin(inner) is tuple:
            inner = get_args(inner)[0]
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        section = inner
    return list(section.model_fields)


def _bound(message: str) -> str:
    for start in ("Input should be ", "Value error, "):
        message = message.removeprefix(start)
    return message
