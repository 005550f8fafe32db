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
from quandary.throttle import Throttle

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


CLOSED = "the client was closed"
NO_TURN = "overloaded: the service had no room for all calls of this client before the timeout passed"


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
        self._throttle = Throttle(threading.Event)

    def close(self) -> None:
        """Close the channel; what waits for its next attempt ends with Cancelled."""
        self.closed.set()
        self.channel.close()

    def unary(self, call: Call[Result]) -> Result:
        """Make the call and return its result."""
        patience, answered = _patience(self.connection, call), False
        if call.again is None:
            return self._attempt(call, call.request, patience)
        self._wait_for_turn(patience)
        try:
            result = self._persist(call, call.again, patience)
            answered = True
            return result
        finally:
            self._throttle.note_over(answered=answered)

    def _persist(self, call: Call[Result], again: Callable[[timedelta], Any], patience: Patience) -> Result:
        """Make the call, and again when it is to come back."""
        if self.closed.is_set():
            raise Cancelled(CLOSED)
        request = call.request
        while True:
            try:
                return self._attempt(call, request, patience)
            except Overloaded as refused:
                pause_s = patience.pause_s(refused, time.monotonic())
                self._throttle.note_refused()
                try:
                    if self.closed.wait(pause_s):
                        raise Cancelled(CLOSED) from refused
                finally:
                    self._throttle.note_returning()
                request = again(timedelta(seconds=patience.left_s(time.monotonic())))

    def _attempt(self, call: Call[Result], request: Any, patience: Patience) -> Result:
        left_s = patience.left_s(time.monotonic())
        with translated_errors():
            response = call.start(request, timeout=left_s, metadata=self.connection.metadata)
        return call.read(response)

    def _wait_for_turn(self, patience: Patience) -> None:
        if (turn := self._throttle.ask()) is None:
            return
        came = False
        try:
            came = turn.wait(patience.left_s(time.monotonic()))
        finally:
            if not came:
                self._throttle.give_up(turn)
        if not came:
            raise Overloaded(NO_TURN)

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
        self._throttle = Throttle(asyncio.Event)

    async def close(self) -> None:
        """Close the channel; what waits for its next attempt ends with Cancelled."""
        self.closed.set()
        await self.channel.close()

    async def unary(self, call: Call[Result]) -> Result:
        """Make the call and return its result."""
        patience, answered = _patience(self.connection, call), False
        if call.again is None:
            return await self._attempt(call, call.request, patience)
        await self._wait_for_turn(patience)
        try:
            result = await self._persist(call, call.again, patience)
            answered = True
            return result
        finally:
            self._throttle.note_over(answered=answered)

    async def _persist(self, call: Call[Result], again: Callable[[timedelta], Any], patience: Patience) -> Result:
        """Make the call, and again when it is to come back."""
        if self.closed.is_set():
            raise Cancelled(CLOSED)
        request = call.request
        while True:
            try:
                return await self._attempt(call, request, patience)
            except Overloaded as refused:
                pause_s = patience.pause_s(refused, time.monotonic())
                self._throttle.note_refused()
                try:
                    if await passes(self.closed, pause_s):
                        raise Cancelled(CLOSED) from refused
                finally:
                    self._throttle.note_returning()
                request = again(timedelta(seconds=patience.left_s(time.monotonic())))

    async def _attempt(self, call: Call[Result], request: Any, patience: Patience) -> Result:
        left_s = patience.left_s(time.monotonic())
        with translated_errors():
            response = await call.start(request, timeout=left_s, metadata=self.connection.metadata)
        return call.read(response)

    async def _wait_for_turn(self, patience: Patience) -> None:
        if (turn := self._throttle.ask()) is None:
            return
        came = False
        try:
            came = await passes(turn, patience.left_s(time.monotonic()))
        finally:
            if not came:
                self._throttle.give_up(turn)
        if not came:
            raise Overloaded(NO_TURN)

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
