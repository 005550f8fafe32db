"""Each call of the contract is described once and made by two: by Caller at once, by AsyncCaller when awaited."""

import asyncio
import random
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Generic, TypeVar

import grpc
from google.protobuf.message import Message

from quandary.connection import Connection
from quandary.errors import Cancelled, Internal, Overloaded
from quandary.patience import Patience
from quandary.rpc_errors import translated_errors

__all__ = ["AsyncCaller", "Call", "Caller", "Listing", "passes"]

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)
Result = TypeVar("Result")
Other = TypeVar("Other")


@dataclass(frozen=True, slots=True)
class Call(Generic[Result]):
    """One call, ready to be made. `start` is a method of a generated stub, `read` turns a response into the result.

    again: returns the request for the time that is left, where a call that is refused as overloaded may be made again; None
    where it may not.
    """

    start: Callable[..., Any]
    request: Any
    read: Callable[[Any], Result]
    timeout: timedelta | None
    again: Callable[[timedelta], Any] | None = None

    @classmethod
    def of(
        cls,
        start: "grpc.UnaryUnaryMultiCallable[Request, Response] | grpc.UnaryStreamMultiCallable[Request, Response]",
        request: Request,
        read: Callable[[Response], Result],
        timeout: timedelta | None = None,
        again: Callable[[timedelta], Request] | None = None,
    ) -> "Call[Result]":
        """Return the call; the types hold its parts together. A timeout of None is the connection's, or a stream's: none."""
        return Call(start, request, read, timeout, again)

    def then(self, step: Callable[[Result], Other]) -> "Call[Other]":
        """Return the call with one more step after reading."""
        read = self.read
        return Call(self.start, self.request, lambda response: step(read(response)), self.timeout, self.again)


@dataclass(frozen=True, slots=True)
class Listing(Generic[Result]):
    """A listing, page by page: the call of the first page, whose result is a response, and the items of a response."""

    first: Call[Any]
    items: Callable[[Any], Iterable[Result]]

    @classmethod
    def of(
        cls,
        start: "grpc.UnaryUnaryMultiCallable[Request, Response]",
        request: Request,
        items: Callable[[Response], Iterable[Result]],
        timeout: timedelta | None = None,
    ) -> "Listing[Result]":
        """Return the listing; its request has a page_token, its response a next_page_token. The timeout is each page's."""
        return Listing(Call(start, request, lambda response: response, timeout), items)

    def after(self, call: Call[Any], page: Any) -> Call[Any] | None:
        """Return the call of the next page, None after the last; raises Internal where a page names itself as the next."""
        if not page.next_page_token:
            return None
        if page.next_page_token == call.request.page_token:
            raise Internal(f"{type(page).__name__} names the same page again")
        request = type(call.request)()
        request.CopyFrom(call.request)
        request.page_token = page.next_page_token
        return replace(call, request=request)


def _patience(connection: Connection, call: Call[Any]) -> Patience:
    return Patience(time.monotonic() + connection.seconds(call.timeout), random.random)


async def passes(event: asyncio.Event, seconds: float) -> bool:
    """Return whether the event is set before so many seconds are over."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()


class Caller:
    """Makes calls over a synchronous channel."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.channel = connection.channel()
        self.closed = threading.Event()

    def close(self) -> None:
        """Close the channel; what waits for its next attempt ends with Cancelled."""
        self.closed.set()
        self.channel.close()

    def unary(self, call: Call[Result]) -> Result:
        """Make the call and return its result."""
        patience, request = _patience(self.connection, call), call.request
        while True:
            left_s = patience.left_s(time.monotonic())
            try:
                with translated_errors():
                    return call.read(call.start(request, timeout=left_s, metadata=self.connection.metadata))
            except Overloaded as refused:
                request = self._wait(call, patience, refused)

    def _wait(self, call: Call[Any], patience: Patience, refused: Overloaded) -> Any:
        """Wait as long as a refused call is to wait, and return its request for the time that is left."""
        if call.again is None:
            raise refused
        if self.closed.wait(patience.pause_s(refused, time.monotonic())):
            raise Cancelled("the client was closed") from refused
        return call.again(timedelta(seconds=patience.left_s(time.monotonic())))

    def stream(self, call: Call[Result]) -> Generator[Result, None, None]:
        """Make the call and yield its results; closing the generator cancels the call."""
        seconds = None if call.timeout is None else self.connection.seconds(call.timeout)
        with translated_errors():
            responses = call.start(call.request, timeout=seconds, metadata=self.connection.metadata)
            try:
                for response in responses:
                    yield call.read(response)
            finally:
                responses.cancel()

    def pages(self, listing: Listing[Result]) -> Generator[Result, None, None]:
        """Yield the items of a listing, page after page."""
        call: Call[Any] | None = listing.first
        while call is not None:
            page = self.unary(call)
            yield from listing.items(page)
            call = listing.after(call, page)


class AsyncCaller:
    """Makes calls over an asynchronous channel."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.channel = connection.aio_channel()
        self.closed = asyncio.Event()

    async def close(self) -> None:
        """Close the channel; what waits for its next attempt ends with Cancelled."""
        self.closed.set()
        await self.channel.close()

    async def unary(self, call: Call[Result]) -> Result:
        """Make the call and return its result."""
        patience, request = _patience(self.connection, call), call.request
        while True:
            left_s = patience.left_s(time.monotonic())
            try:
                with translated_errors():
                    return call.read(await call.start(request, timeout=left_s, metadata=self.connection.metadata))
            except Overloaded as refused:
                request = await self._wait(call, patience, refused)

    async def _wait(self, call: Call[Any], patience: Patience, refused: Overloaded) -> Any:
        """Wait as long as a refused call is to wait, and return its request for the time that is left."""
        if call.again is None:
            raise refused
        if await passes(self.closed, patience.pause_s(refused, time.monotonic())):
            raise Cancelled("the client was closed") from refused
        return call.again(timedelta(seconds=patience.left_s(time.monotonic())))

    async def stream(self, call: Call[Result]) -> AsyncGenerator[Result, None]:
        """Make the call and yield its results; closing the generator cancels the call."""
        seconds = None if call.timeout is None else self.connection.seconds(call.timeout)
        with translated_errors():
            responses = call.start(call.request, timeout=seconds, metadata=self.connection.metadata)
            try:
                async for response in responses:
                    yield call.read(response)
            finally:
                responses.cancel()

    async def pages(self, listing: Listing[Result]) -> AsyncGenerator[Result, None]:
        """Yield the items of a listing, page after page."""
        call: Call[Any] | None = listing.first
        while call is not None:
            page = await self.unary(call)
            for item in listing.items(page):
                yield item
            call = listing.after(call, page)
