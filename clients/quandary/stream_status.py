"""How an asynchronous stream ended, as its server said.

A server that ends a stream while the client still writes makes a write fail, and grpc.aio then puts "Internal error from
Core" over the status that the server sent, or that is about to arrive (grpc/grpc#36066). The status is noted here whenever
gRPC sets it, so that a refusal stays the refusal it was.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio

__all__ = ["StreamStatus"]

OVERWRITTEN = "Internal error from Core"
GRACE_S = 1.0


class StreamStatus:
    """The status of a call whose requests are streamed; made when the call is started."""

    def __init__(self, call: grpc.aio.Call) -> None:
        self._sent: asyncio.Future[grpc.aio.AioRpcError] = asyncio.get_running_loop().create_future()
        call.add_done_callback(self._note)

    async def error(self, raised: grpc.RpcError) -> grpc.RpcError | None:
        """Return the error that the server sent where `raised` stands for it, None if it ended the call in order."""
        if not isinstance(raised, grpc.aio.AioRpcError) or raised.details() != OVERWRITTEN:
            return raised
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                sent = await self._sent
                return None if sent.code() is grpc.StatusCode.OK else sent
        return raised

    def _note(self, call: grpc.aio.Call) -> None:
        details = _at_once(call.details())
        if details != OVERWRITTEN and not self._sent.done():
            code, trailers = _at_once(call.code()), _at_once(call.trailing_metadata())
            self._sent.set_result(grpc.aio.AioRpcError(code, trailing_metadata=trailers, details=details))


def _at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a coroutine that has nothing to wait for, as those of a call that is over."""
    try:
        coroutine.send(None)
    except StopIteration as over:
        return over.value
    raise RuntimeError("a call that is over has no status")
