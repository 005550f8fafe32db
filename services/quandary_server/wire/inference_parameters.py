"""Parameters of the Open Inference Protocol: named values of several types. Errors name the parameter, no path."""

from collections.abc import Collection, Mapping

from quandary.errors import InvalidArgument
from quandary_server.wire.inference_v2 import open_inference_pb2 as protocol

MAX_INT64 = 2**63 - 1

Parameters = Mapping[str, protocol.InferParameter]


def check_names(parameters: Parameters, known: Collection[str]) -> None:
    """Raise InvalidArgument for a parameter that is not known."""
    for name in sorted(parameters):
        if name not in known:
            raise InvalidArgument.of("", repr(name), f"one of {', '.join(known)}")


def integer(parameters: Parameters, name: str) -> int | None:
    """Return an integer parameter, None where it is not there; raises InvalidArgument for one of another type."""
    if name not in parameters:
        return None
    found = parameters[name]
    match found.WhichOneof("parameter_choice"):
        case "int64_param":
            return found.int64_param
        case "uint64_param":
            return found.uint64_param
    raise InvalidArgument.of(name, _told(found), "an integer: int64_param or uint64_param")


def number(parameters: Parameters, name: str) -> float | None:
    """Return a number, None where it is not there; raises InvalidArgument for a parameter of another type."""
    if name not in parameters:
        return None
    found = parameters[name]
    choice = found.WhichOneof("parameter_choice")
    if choice in ("double_param", "int64_param", "uint64_param"):
        return float(getattr(found, choice))
    raise InvalidArgument.of(name, _told(found), "a number: double_param, or int64_param for a whole one")


def text(parameters: Parameters, name: str) -> str | None:
    """Return a text parameter, None where it is not there; raises InvalidArgument for one of another type."""
    if name not in parameters:
        return None
    found = parameters[name]
    if found.WhichOneof("parameter_choice") == "string_param":
        return found.string_param
    raise InvalidArgument.of(name, _told(found), "a text: string_param")


def parameter(value: int | str) -> protocol.InferParameter:
    """Return the message of an integer of at most 64 bits or of a text; int64 where it fits, which every client reads."""
    if isinstance(value, str):
        return protocol.InferParameter(string_param=value)
    return protocol.InferParameter(int64_param=value) if value <= MAX_INT64 else protocol.InferParameter(uint64_param=value)


def _told(found: protocol.InferParameter) -> str:
    choice = found.WhichOneof("parameter_choice")
    return "unset" if choice is None else f"{choice} {getattr(found, choice)!r}"
