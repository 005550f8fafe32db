"""Where two settings differ, field by field."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

MAX_FIELDS = 6
MAX_CHARACTERS = 40
NOTHING = "nothing"


def told_differences(there: BaseModel, here: BaseModel) -> str:
    """Return the fields that differ, dotted, with both values: `seed: 1 there, 2 here`; empty where none does.

    Of many fields the first 6 are told and the rest counted; a value is cut at 40 characters.
    """
    found = list(_differing(there.model_dump(mode="json"), here.model_dump(mode="json"), ""))
    told = [f"{path}: {_short(ours)} there, {_short(theirs)} here" for path, ours, theirs in found[:MAX_FIELDS]]
    return "; ".join([*told, *([f"and {len(found) - MAX_FIELDS} more"] if len(found) > MAX_FIELDS else [])])


def _differing(there: Any, here: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if there == here:
        return
    if isinstance(there, dict) and isinstance(here, dict):
        for name in dict.fromkeys([*there, *here]):
            yield from _differing(there.get(name, NOTHING), here.get(name, NOTHING), f"{path}.{name}" if path else name)
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        for i, pair in enumerate(zip(there, here, strict=True)):
            yield from _differing(*pair, f"{path}.{i}")
    else:
        yield path, there, here


def _short(value: Any) -> str:
    text = NOTHING if value is None else str(value)
    return text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 1]}…"
