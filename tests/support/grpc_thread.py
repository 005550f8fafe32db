"""A real gRPC server in a thread of its own, told from a test's thread."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from quandary_server.grpc_server import Register, start_server
from quandary_server.wire.health import Readiness

Result = TypeVar("Result")


class ServerThread:
    """Serves what `register` adds, on a free port of the loopback interface unless one is given; `target` is its address."""

    def __init__(self, register: Register, services: dict[str, Readiness], port: int = 0) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server, port = self._do(start_server("127.0.0.1", port, services, [register]))
        self.target = f"127.0.0.1:{port}"

    def stop(self) -> None:
        """End the server and its thread."""
        self._do(self._server.stop(0))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=30)

    def begin(self, work: Coroutine[Any, Any, Result]) -> "Future[Result]":
        """Run a coroutine on the server's loop; return its future."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _do(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.begin(work).result(timeout=30)
