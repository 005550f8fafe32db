"""Requests that cannot be parsed: they reach the servicer as a value, so that it answers them as it does any wrong request.

Left alone, gRPC answers UNKNOWN with the name of a Python class, and Serve takes such a message for the end of the stream.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from quandary.errors import InvalidArgument

Request = TypeVar("Request")
AddServicer = Callable[[Any, grpc.aio.Server], None]


@dataclass(frozen=True, slots=True)
class Undecodable:
    """What stands for a request that is no message of its method."""

    method: str
    size: int

    def error(self) -> InvalidArgument:
        """Return what is wrong with it."""
        return InvalidArgument.of("request", f"{self.size} bytes that cannot be parsed", f"the message of {self.method}")


def decoded(request: Request) -> Request:
    """Return a request as it is, and a stream of requests checked as it comes; raises InvalidArgument for an Undecodable."""
    if isinstance(request, Undecodable):
        raise request.error()
    return cast(Request, _decoded_stream(request)) if isinstance(request, AsyncIterator) else request


async def _decoded_stream(requests: AsyncIterator[Request]) -> AsyncIterator[Request]:
    async for request in requests:
        yield decoded(request)


class Tolerant:
    """A server to register servicers with: it hands what cannot be parsed to them, as Undecodable."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Generated code gives the same handlers once more, in a form that can be changed."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, "grpc.RpcMethodHandler[Any, Any]"]) -> None:
        """Add the methods of a service."""
        tolerant = {name: _tolerant(f"{service}/{name}", handler) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, tolerant),))
        self._server.add_registered_method_handlers(service, tolerant)


def tolerant(add: AddServicer) -> AddServicer:
    """Return an add_..._to_server that registers with a Tolerant; Serve takes such functions by name."""

    def add_tolerant(servicer: Any, server: grpc.aio.Server) -> None:
        add(servicer, cast(grpc.aio.Server, Tolerant(server)))

    return add_tolerant


def _tolerant(method: str, handler: Any) -> Any:
    parse = handler.request_deserializer

    def parse_or_tell(data: bytes) -> Any:
        try:
            return parse(data)
        except DecodeError:
            return Undecodable(method, len(data))

    return handler._replace(request_deserializer=parse_or_tell)
