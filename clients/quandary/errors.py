"""The errors of Quandary, the same on both sides of the wire.

QuandaryError
├── InvalidArgument           fields are wrong; `violations` names field, value and bound
│   └── MeaninglessRequest    each field is right, together they mean nothing
├── Unauthenticated           no valid bearer token
├── PermissionDenied          the token's roles do not allow the call
├── NotFound                  no such queue, task, run, generation or frame
├── FailedPrecondition        not in this state
│   ├── NoGeneration          nothing has been promoted yet
│   ├── GenerationNotResident the pinned generation is not loaded
│   ├── StaleLease            another holds the task, or the lease expired
│   ├── WrongState            the task, run or generation does not allow this now
│   ├── TooLittleData         not enough labels to train on
│   └── GateRefused           the candidate failed a gate
├── Aborted
│   └── PointerMoved          another promotion came first
├── ResourceExhausted
│   ├── Overloaded            back off for `retry_after`
│   └── TooLarge              over a limit
├── DeadlineExceeded
├── Cancelled                 the caller gave up
├── Unavailable               retry
├── NotServedYet              part of the contract, not built yet
├── CorruptArtefact           a file fails its digest
└── Internal                  a fault of ours
    └── NonFiniteOutput       the detector gave NaN or infinity for this frame

The classes know no gRPC: `status` names the canonical code and `reason` the ErrorReason of quandary/v1/error.proto.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import ClassVar, Self

__all__ = [
    "Aborted",
    "Cancelled",
    "CorruptArtefact",
    "DeadlineExceeded",
    "FailedPrecondition",
    "GateRefused",
    "GenerationNotResident",
    "Internal",
    "InvalidArgument",
    "MeaninglessRequest",
    "NoGeneration",
    "NonFiniteOutput",
    "NotFound",
    "NotServedYet",
    "Overloaded",
    "PermissionDenied",
    "PointerMoved",
    "QuandaryError",
    "ResourceExhausted",
    "StaleLease",
    "TooLarge",
    "TooLittleData",
    "Unauthenticated",
    "Unavailable",
    "Violation",
    "WrongState",
    "within",
]

MAX_VALUE_CHARACTERS = 120


@dataclass(frozen=True, slots=True)
class Violation:
    """One wrong field: its path, its value as text and the bound it breaks."""

    field: str
    value: str
    bound: str

    def __str__(self) -> str:
        return f"{self.field} is {self.value}, must be {self.bound}"


class QuandaryError(Exception):
    """Base of all errors; `violations` and `retry_after` are empty unless the subclass says otherwise."""

    status: ClassVar[str] = "UNKNOWN"
    reason: ClassVar[str] = "UNSPECIFIED"

    def __init__(self, message: str, *, violations: Iterable[Violation] = (), retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.violations = tuple(violations)
        self.retry_after = retry_after

    def moved_under(self, path: str) -> Self:
        """Return the same error with every field's path below `path`; one that names no field stays as it is."""
        if not self.violations:
            return self
        moved = [replace(v, field=f"{path}.{v.field}" if v.field else path) for v in self.violations]
        message = self.message.replace(_listed(self.violations), _listed(moved))
        return type(self)(message, violations=moved, retry_after=self.retry_after)


class InvalidArgument(QuandaryError, ValueError):
    """Fields are wrong; `violations` names each with its value and bound."""

    status = "INVALID_ARGUMENT"
    reason = "INVALID_FIELD"

    @classmethod
    def of(cls, field: str, value: object, bound: str) -> "InvalidArgument":
        """Return the error for one wrong field."""
        return cls.all([Violation(field, shortened(value), bound)])

    @classmethod
    def all(cls, violations: Iterable[Violation]) -> "InvalidArgument":
        """Return the error for several wrong fields at once."""
        found = tuple(violations)
        return cls(_listed(found), violations=found)


class MeaninglessRequest(InvalidArgument):
    """Each field is right, together they mean nothing (mutual information of one softmax pass)."""

    reason = "MEANINGLESS_REQUEST"


class Unauthenticated(QuandaryError):
    """No valid bearer token."""

    status = "UNAUTHENTICATED"
    reason = "NO_TOKEN"


class PermissionDenied(QuandaryError):
    """The token's roles do not allow the call."""

    status = "PERMISSION_DENIED"
    reason = "WRONG_ROLE"


class NotFound(QuandaryError):
    """No such queue, task, run, generation or frame."""

    status = "NOT_FOUND"
    reason = "NOT_FOUND"


class FailedPrecondition(QuandaryError):
    """The system is not in the state that the call needs."""

    status = "FAILED_PRECONDITION"
    reason = "WRONG_STATE"


class NoGeneration(FailedPrecondition):
    """No generation has been promoted yet, so nothing can be scored."""

    reason = "NO_GENERATION"


class GenerationNotResident(FailedPrecondition):
    """The pinned generation is not loaded in the answering replica."""

    reason = "GENERATION_NOT_RESIDENT"


class StaleLease(FailedPrecondition):
    """Another holds the task, or the lease has expired."""

    reason = "STALE_LEASE"


class WrongState(FailedPrecondition):
    """The task, run or generation does not allow this now."""

    reason = "WRONG_STATE"


class TooLittleData(FailedPrecondition):
    """There are not enough labels to train on; `violations` says what is missing."""

    reason = "TOO_LITTLE_DATA"


class GateRefused(FailedPrecondition):
    """The candidate failed a gate."""

    reason = "GATE_REFUSED"


class Aborted(QuandaryError):
    """Somebody else was faster; read again and retry."""

    status = "ABORTED"
    reason = "POINTER_MOVED"


class PointerMoved(Aborted):
    """Another promotion moved the pointer first."""


class ResourceExhausted(QuandaryError):
    """Too much: of work waiting, or in one request."""

    status = "RESOURCE_EXHAUSTED"
    reason = "OVERLOADED"


class Overloaded(ResourceExhausted):
    """More work waits than can be done in time; back off for `retry_after`."""


class TooLarge(ResourceExhausted):
    """The request is over a limit; `violations` names it."""

    reason = "TOO_LARGE"


class DeadlineExceeded(QuandaryError):
    """The time allowed is over."""

    status = "DEADLINE_EXCEEDED"
    reason = "DEADLINE_EXCEEDED"


class Cancelled(QuandaryError):
    """The caller gave up."""

    status = "CANCELLED"


class Unavailable(QuandaryError):
    """A part that the call needs cannot be reached now; retry."""

    status = "UNAVAILABLE"
    reason = "UNAVAILABLE"


class NotServedYet(QuandaryError):
    """Part of the contract, not built yet."""

    status = "UNIMPLEMENTED"
    reason = "NOT_SERVED_YET"


class CorruptArtefact(QuandaryError):
    """A file is torn, tampered or foreign: it fails its digest."""

    status = "DATA_LOSS"
    reason = "CORRUPT_ARTEFACT"


class Internal(QuandaryError):
    """A fault of ours."""

    status = "INTERNAL"
    reason = "INTERNAL"


class NonFiniteOutput(Internal):
    """The detector's output for a frame is not finite."""

    reason = "NON_FINITE_OUTPUT"


def shortened(value: object) -> str:
    """Return the value as text of at most 120 characters, for a Violation."""
    text = str(value)
    return text if len(text) <= MAX_VALUE_CHARACTERS else text[: MAX_VALUE_CHARACTERS - 1] + "…"


@contextmanager
def within(path: str) -> Iterator[None]:
    """Put the fields of an error raised inside below `path`."""
    try:
        yield
    except QuandaryError as error:
        raise error.moved_under(path) from None


def _listed(violations: Iterable[Violation]) -> str:
    return "; ".join(map(str, violations))
