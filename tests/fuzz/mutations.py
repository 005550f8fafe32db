"""Strategies for what becomes of a valid request: hostile values in its fields, then broken bytes."""

from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]

MANY = 300
"""Copies of an element: over the limits of frames, proposals and labels, and under those of a message's bytes."""

TEXTS = [
    "",
    " ",
    "/",
    "../etc/passwd",
    "a" * 129,
    "ü" * 300,
    "\x00",
    "\ud7ff\U0010ffff",
    "%s{}",
    "queues/",
    "generations/current",
]
INTEGERS = [0, 1, -1, 2, 3, 100, 101, 1000, 10**6, 2**31 - 1, -(2**31), 2**32 - 1, 2**53, 2**63 - 1, -(2**63), 2**64 - 1]
DOUBLES = [0.0, -0.0, 1.0, -1.0, 0.5, 1e-300, 5e-324, 1e39, 1e308, -1e308, float("nan"), float("inf"), float("-inf")]
FLOATS = [0.0, -0.0, 1.0, -1.0, 1e-45, 1e38, -1e38, float("nan"), float("inf"), float("-inf")]


def _integers(low: int, high: int) -> st.SearchStrategy[int]:
    return st.one_of(st.sampled_from([value for value in INTEGERS if low <= value <= high]), st.integers(low, high))


SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_INT32: _integers(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: _integers(-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: _integers(0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: _integers(0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_DOUBLE: st.one_of(st.sampled_from(DOUBLES), st.floats()),
    FieldDescriptor.CPPTYPE_FLOAT: st.one_of(st.sampled_from(FLOATS), st.floats(width=32)),
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_ENUM: st.one_of(st.integers(0, 12), st.sampled_from([-1, 99, 2**31 - 1, -(2**31)])),
}


def scalars(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    """Return the values of a field that is no message."""
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        if field.type == FieldDescriptor.TYPE_BYTES:
            return st.binary(max_size=64)
        return st.one_of(st.sampled_from(TEXTS), st.text(max_size=30))
    return SCALARS[field.cpp_type]


@st.composite
def mutated(draw: Draw, seed: Message) -> bytes:
    """Return the bytes of a request with up to three of its fields changed, and sometimes broken after that."""
    message = type(seed)()
    message.CopyFrom(seed)
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3, 0]))):
        change(draw, message)
    data = message.SerializeToString()
    for _ in range(draw(st.sampled_from([0, 0, 0, 0, 0, 1, 2]))):
        data = broken(draw, data)
    return data


def change(draw: Draw, message: Message) -> None:
    """Change one field of a message, or of one below it."""
    if not message.DESCRIPTOR.fields:
        return
    field = draw(st.sampled_from(list(message.DESCRIPTOR.fields)))
    if field.is_repeated:
        _change_repeated(draw, getattr(message, field.name), field)
    elif field.message_type is None:
        setattr(message, field.name, draw(scalars(field)))
    elif draw(st.integers(0, 4)):
        below = getattr(message, field.name)
        below.SetInParent()
        change(draw, below)
    else:
        message.ClearField(field.name)


def _change_repeated(draw: Draw, values: Any, field: FieldDescriptor) -> None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        _change_map(draw, values, field.message_type.fields_by_name["value"])
    elif not len(values):
        _append(draw, values, field)
    elif field.message_type is not None and draw(st.integers(0, 3)):
        change(draw, values[draw(st.integers(0, len(values) - 1))])
    else:
        match draw(st.sampled_from(["remove", "copy", "copy many", "append", "clear"])):
            case "remove":
                del values[draw(st.integers(0, len(values) - 1))]
            case "copy":
                values.extend([values[0]])
            case "copy many":
                values.extend([values[0]] * MANY)
            case "append":
                _append(draw, values, field)
            case "clear":
                del values[:]


def _append(draw: Draw, values: Any, field: FieldDescriptor) -> None:
    if field.message_type is None:
        values.append(draw(scalars(field)))
    else:
        change(draw, values.add())


def _change_map(draw: Draw, values: Any, field: FieldDescriptor) -> None:
    key = draw(st.one_of(st.sampled_from(sorted(values) or [""]), st.text(max_size=10)))
    if field.message_type is None:
        values[key] = draw(scalars(field))
    else:
        change(draw, values[key])


def broken(draw: Draw, data: bytes) -> bytes:
    """Return bytes with one thing done to them that no writer of messages does."""
    i, j = sorted(draw(st.tuples(st.integers(0, len(data)), st.integers(0, len(data)))))
    noise: bytes = draw(st.binary(min_size=1, max_size=8))
    times: int = draw(st.sampled_from([1, 9, 10, 11, 64, 200]))
    changed: dict[str, bytes] = {
        "cut": data[:i],
        "drop": data[:i] + data[j:],
        "insert": data[:i] + noise + data[i:],
        "overwrite": data[:i] + noise + data[i + len(noise) :],
        "repeat": data[:j] + data[i:],
        "overflow": data[:i] + b"\xff" * times + data[i:],
        "nest": data[:i] + b"\x0a\x7f" * times + data[i:],
        "replace": noise * times,
    }
    return changed[draw(st.sampled_from(sorted(changed)))]


@st.composite
def streams(draw: Draw, seeds: Sequence[Message]) -> list[bytes]:
    """Return the messages of a stream, mutated, and sometimes not in their order or number."""
    order = list(seeds)
    match draw(st.sampled_from(["keep", "keep", "keep", "drop", "repeat", "shuffle"])):
        case "drop":
            del order[draw(st.integers(0, len(order) - 1))]
        case "repeat":
            order.append(draw(st.sampled_from(order)))
        case "shuffle":
            order = draw(st.permutations(order))
    return [draw(mutated(seed)) if draw(st.booleans()) else seed.SerializeToString() for seed in order]
