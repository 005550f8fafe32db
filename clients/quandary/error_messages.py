"""Errors as messages, both ways, for the trailing metadata of a failed call and for one frame of many. Knows no channel."""

from google.protobuf.duration_pb2 import Duration

from quandary import errors
from quandary.errors import QuandaryError, Violation
from quandary.v1 import error_pb2, scoring_pb2

__all__ = ["ERROR_TRAILER", "STATUS_NUMBERS", "error_message", "quandary_error", "result_score"]

ERROR_TRAILER = "quandary-error-bin"
"""Key of the trailing metadata whose value is a serialised quandary.v1.Error."""

STATUS_NUMBERS = {
    "OK": 0,
    "CANCELLED": 1,
    "UNKNOWN": 2,
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "NOT_FOUND": 5,
    "ALREADY_EXISTS": 6,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "ABORTED": 10,
    "OUT_OF_RANGE": 11,
    "UNIMPLEMENTED": 12,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
    "DATA_LOSS": 15,
    "UNAUTHENTICATED": 16,
}
"""The canonical status codes of gRPC by name (google/rpc/code.proto), so that this side needs no grpc to name them."""

# General classes first. Several may share a reason or a status, but only along one line of descent (a test holds that): a
# reason then means the most specific of them, a bare status the most general.
_CLASSES = sorted(
    (found for found in vars(errors).values() if isinstance(found, type) and issubclass(found, QuandaryError)),
    key=lambda found: len(found.__mro__),
)
_BY_REASON = {found.reason: found for found in _CLASSES if found.reason != QuandaryError.reason}
_BY_STATUS = {STATUS_NUMBERS[found.status]: found for found in reversed(_CLASSES)}


def error_message(error: QuandaryError) -> error_pb2.Error:
    """Return the message of an error."""
    message = error_pb2.Error(
        status_code=STATUS_NUMBERS[error.status],
        reason=error_pb2.ErrorReason.Value(f"ERROR_REASON_{error.reason}"),
        message=error.message,
        violations=[error_pb2.Violation(field=v.field, value=v.value, bound=v.bound) for v in error.violations],
    )
    if error.retry_after is not None:
        retry_after = Duration()
        retry_after.FromTimedelta(error.retry_after)
        message.retry_after.CopyFrom(retry_after)
    return message


def quandary_error(message: error_pb2.Error) -> QuandaryError:
    """Return the error of a message: its reason picks the class, or its status code where the reason is unset or newer."""
    reason = error_pb2.ErrorReason.DESCRIPTOR.values_by_number.get(message.reason)
    by_status = _BY_STATUS.get(message.status_code, QuandaryError)
    found = by_status if reason is None else _BY_REASON.get(reason.name.removeprefix("ERROR_REASON_"), by_status)
    return found(
        message.message,
        violations=[Violation(v.field, v.value, v.bound) for v in message.violations],
        retry_after=message.retry_after.ToTimedelta() if message.HasField("retry_after") else None,
    )


def result_score(result: scoring_pb2.FrameResult) -> scoring_pb2.FrameScore:
    """Return the score of a frame's result, or raise the error that it carries in band."""
    if result.HasField("error"):
        raise quandary_error(result.error)
    if not result.HasField("score"):
        raise errors.Internal(f"the result of frame {result.frame_id!r} holds neither score nor error")
    return result.score
