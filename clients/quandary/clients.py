"""What all clients have in common: they connect at the first call and are closed, best by a `with`."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import grpc

from quandary.calls import AsyncCaller, Caller
from quandary.connection import DEFAULT_TIMEOUT, Connection
from quandary.methods import Asynchronous, Synchronous

__all__ = ["AsyncClient", "Client"]


class Client(Synchronous, ABC):
    """A client whose calls return when they are answered; safe to use from several threads.

    target: host:port, or any name gRPC knows. token: the bearer token, or what
    returns the one to use now (it is called for every call). timeout: allowed per call unless the call says
    otherwise. credentials: for TLS (grpc.ssl_channel_credentials()); None is plain text. Raises InvalidArgument for a
    malformed target or token.
    """

    def __init__(
        self,
        target: str,
        *,
        token: str | Callable[[], str],
        timeout: timedelta = DEFAULT_TIMEOUT,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self._caller = Caller(Connection(target, token, timeout, credentials))
        self._timeout = timeout
        self._use(self._caller.channel)

    @abstractmethod
    def _use(self, channel: Any) -> None:
        """Make the stubs of the client's services."""

    def close(self) -> None:
        """Close the connection; calls under way end with Cancelled."""
        self._caller.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._caller.connection.target!r})"


class AsyncClient(Asynchronous, ABC):
    """A client whose calls are awaited; it belongs to the event loop that runs when it is made (RuntimeError without one).

    Its arguments are those of the synchronous client.
    """

    def __init__(
        self,
        target: str,
        *,
        token: str | Callable[[], str],
        timeout: timedelta = DEFAULT_TIMEOUT,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        asyncio.get_running_loop()  # without one gRPC would silently tie the channel to a loop that never runs
        self._caller = AsyncCaller(Connection(target, token, timeout, credentials))
        self._timeout = timeout
        self._use(self._caller.channel)

    @abstractmethod
    def _use(self, channel: Any) -> None:
        """Make the stubs of the client's services."""

    async def close(self) -> None:
        """Close the connection; calls under way are cancelled."""
        await self._caller.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._caller.connection.target!r})"
