"""The door of every service: token in, domain call, status out. The same for Serve's ingress and for grpc.aio."""

import logging
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from quandary.error_messages import ERROR_TRAILER, error_message
from quandary.errors import Internal, PermissionDenied, QuandaryError, Unavailable
from quandary.v1 import error_pb2
from quandary_server.auth import Caller, Keyring, Role, require
from quandary_server.wire.decoding import decoded

STATUS_TRAILER = "grpc-status-details-bin"
PUSHBACK_TRAILER = "grpc-retry-pushback-ms"
MAX_TEXT_CHARACTERS = 300
MAX_VIOLATION_CHARACTERS = 120
MAX_ERROR_BYTES = 1200
STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}

log = logging.getLogger(__name__)

Servant = TypeVar("Servant", bound="Guarded")
Request = TypeVar("Request")
Response = TypeVar("Response", bound=Message)
P = ParamSpec("P")


class Context(Protocol):
    """What is used of a call's context; Serve's and grpc.aio's both have it, under types of their own."""

    def invocation_metadata(self) -> Any:
        """Return the metadata that the client sent, pairs of key and value."""

    def set_code(self, code: grpc.StatusCode, /) -> None:
        """Set the status code."""

    def set_details(self, details: str, /) -> None:
        """Set the status text."""

    def set_trailing_metadata(self, metadata: Any, /) -> None:
        """Set the trailing metadata, pairs of key and value."""


Observe = Callable[[str, str, float], None]
"""Called after every call with its method, status code and seconds."""


class Door:
    """Admits callers and reports calls."""

    def __init__(self, keyring: Keyring, observe: Observe) -> None:
        self._keyring, self._observe = keyring, observe

    def admit(self, context: Context, role: Role) -> Caller:
        """Return the caller; raises Unauthenticated or PermissionDenied."""
        caller = self._keyring.caller(context.invocation_metadata() or ())
        require(caller, role)
        return caller

    def subjects(self, role: Role) -> frozenset[str]:
        """Return whom the valid tokens with the role name."""
        return self._keyring.subjects(role)

    def report(self, method: str, code: str, started: float) -> None:
        """Report a call that started at time.perf_counter() `started`."""
        self._observe(method, code, time.perf_counter() - started)


class Guarded(Protocol):
    """A servicer with a door."""

    door: Door


def unary(
    role: Role, response: type[Response]
) -> Callable[
    [Callable[[Servant, Request, Caller], Awaitable[Response]]],
    Callable[[Servant, Request, Context], Awaitable[Response]],
]:
    """Make an RPC of `async method(self, request, caller) -> response`: admitted by role, errors turned into a status.

    A refused call sets code, text and trailing metadata and returns an empty response: a raise through Serve's ingress would
    lose the metadata and hand exception text to the client.
    """

    def decorate(
        method: Callable[[Servant, Request, Caller], Awaitable[Response]],
    ) -> Callable[[Servant, Request, Context], Awaitable[Response]]:
        name = method.__name__

        # Serve looks for a parameter of this very name
        async def call(self: Servant, request: Request, grpc_context: Context) -> Response:
            started, code = time.perf_counter(), "CANCELLED"
            try:
                caller = self.door.admit(grpc_context, role)
                answer = await method(self, decoded(request), caller)
                code = "OK"
                return answer
            except Exception as error:
                code = refuse(grpc_context, _told(known(error, name), name))
                return response()
            finally:
                self.door.report(name, code, started)

        return _named(call, method)

    return decorate


def streaming(
    role: Role,
) -> Callable[
    [Callable[[Servant, Request, Caller], AsyncGenerator[Response, None]]],
    Callable[[Servant, Request, Context], AsyncIterator[Response]],
]:
    """Make a streaming RPC of an async generator method, as `unary` does.

    The caller is admitted once more for each response: a token that is revoked, or expires, ends the streams it opened.
    """

    def decorate(
        method: Callable[[Servant, Request, Caller], AsyncGenerator[Response, None]],
    ) -> Callable[[Servant, Request, Context], AsyncIterator[Response]]:
        name = method.__name__

        async def call(self: Servant, request: Request, grpc_context: Context) -> AsyncIterator[Response]:
            started, code = time.perf_counter(), "CANCELLED"
            try:
                caller = self.door.admit(grpc_context, role)
                async with aclosing(method(self, decoded(request), caller)) as responses:
                    async for response in responses:
                        self.door.admit(grpc_context, role)
                        yield response
                code = "OK"
            except Exception as error:
                code = refuse(grpc_context, _told(known(error, name), name))
            finally:
                self.door.report(name, code, started)

        return _named(call, method)

    return decorate


def known(error: Exception, where: str) -> QuandaryError:
    """Return an error of ours as it is; log any other and return Internal with the incident's id and nothing more."""
    if isinstance(error, QuandaryError):
        return error
    incident = secrets.token_hex(4)
    log.error("call_failed method=%s incident=%s", where, incident, exc_info=error)
    return Internal(f"internal error; the server's log has it as incident {incident}")


def _told(error: QuandaryError, method: str) -> QuandaryError:
    """Log that a subject was refused for its roles, and return the error; who has no token could fill the log at will."""
    if isinstance(error, PermissionDenied):
        log.warning("call_denied method=%s problem=%s", method, error.message)
    return error


def refuse(context: Context, error: QuandaryError) -> str:
    """Set code, text and trailing metadata of a refused call; return the code's name."""
    message = error_message(error)
    # the trailers of a call may hold 8 KB; every error is in them three times, and grows by a third in base64
    message.message = message.message[:MAX_TEXT_CHARACTERS]
    for violation in message.violations:
        violation.value = violation.value[:MAX_VIOLATION_CHARACTERS]
        violation.bound = violation.bound[:MAX_VIOLATION_CHARACTERS]
    wrong = len(message.violations)
    while message.violations and message.ByteSize() > MAX_ERROR_BYTES:
        del message.violations[-1]
    if left := wrong - len(message.violations):
        message.message = f"{wrong} fields are wrong, {left} more than told here: {message.message}"[:MAX_TEXT_CHARACTERS]
    context.set_code(STATUS_CODES[message.status_code])
    context.set_details(message.message)
    context.set_trailing_metadata(
        # Serve insists on a list
        [
            (STATUS_TRAILER, _status(error, message).SerializeToString()),
            (ERROR_TRAILER, message.SerializeToString()),
            *_pushback(error),
        ]
    )
    return error.status


def _pushback(error: QuandaryError) -> list[tuple[str, str]]:
    """Tell clients that retry by gRPC's own policy when to come back, or not to (gRFC A6)."""
    if isinstance(error, Unavailable):
        return []
    return [(PUSHBACK_TRAILER, "-1" if error.retry_after is None else str(round(error.retry_after.total_seconds() * 1e3)))]


def _status(error: QuandaryError, message: error_pb2.Error) -> status_pb2.Status:
    """The same error for stock clients: google.rpc.Status with BadRequest and RetryInfo."""
    status = status_pb2.Status(code=message.status_code, message=message.message)
    if message.violations:
        wrong = [
            error_details_pb2.BadRequest.FieldViolation(field=v.field, description=f"is {v.value}, must be {v.bound}")
            for v in message.violations
        ]
        status.details.append(_packed(error_details_pb2.BadRequest(field_violations=wrong)))
    if error.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromTimedelta(error.retry_after)
        status.details.append(_packed(retry))
    return status


def _packed(message: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed


Call = TypeVar("Call", bound=Callable[..., Any])


def _named(call: Call, method: Callable[Concatenate[Any, P], Any]) -> Call:
    """Give the call the method's names, but not its signature: Serve inspects that for grpc_context."""
    call.__name__, call.__qualname__, call.__doc__ = method.__name__, method.__qualname__, method.__doc__
    return call
