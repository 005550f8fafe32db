"""The one place where gRPC's errors become ours."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import cast

import grpc
from google.protobuf.message import DecodeError

from quandary.error_messages import ERROR_TRAILER, STATUS_NUMBERS, quandary_error
from quandary.errors import QuandaryError, TooLarge
from quandary.v1 import error_pb2

__all__ = ["error_of_call", "translated_errors"]


RESET = "RST_STREAM"
TOO_LARGE = "larger than max"
NOT_OF_A_SERVICE = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)


def error_of_call(error: grpc.RpcError) -> QuandaryError:
    """Return the error of a failed call: as its trailing metadata describe it, else by its status code."""
    # The stubs describe neither of the two shapes that trailing metadata really have: pairs in a tuple, pairs in a Metadata.
    trailers = cast("Iterable[tuple[str, str | bytes]] | None", error.trailing_metadata())
    for key, value in trailers or ():
        if key == ERROR_TRAILER and isinstance(value, bytes):
            try:
                return quandary_error(error_pb2.Error.FromString(value))
            except DecodeError:
                break
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and TOO_LARGE in details:
        # gRPC's own limit, on either side: nothing that backing off would help
        return TooLarge(details)
    if code in NOT_OF_A_SERVICE or (code is grpc.StatusCode.CANCELLED and RESET in details):
        # a service would have described it: what served the call is gone
        code, details = grpc.StatusCode.UNAVAILABLE, details.partition("\n")[0]
    return quandary_error(error_pb2.Error(status_code=STATUS_NUMBERS[code.name], message=details or code.name))


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raise our error in place of gRPC's, which stays its cause."""
    try:
        yield
    except grpc.RpcError as error:
        raise error_of_call(error) from error
