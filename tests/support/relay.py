"""A wire that can be cut: it hands on what goes between a client and a server."""

import socket
import socketserver
import threading
from contextlib import suppress


class Relay:
    """Listens on a port of the loopback interface, a free one by default, `target`; what is cut may be connected anew."""

    def __init__(self, server: str, listening_port: int = 0) -> None:
        host, _, port = server.rpartition(":")
        relay = self

        class Wire(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection((host, int(port))) as upstream:
                    relay._note(self.request, upstream)
                    back = threading.Thread(target=_pump, args=(upstream, self.request), daemon=True)
                    back.start()
                    _pump(self.request, upstream)
                    back.join()

        self._lock = threading.Lock()
        self._ends: list[socket.socket] = []
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", listening_port), Wire)
        self._server.daemon_threads = True
        self.target = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def cut(self) -> None:
        """Break every connection there is."""
        with self._lock:
            ends, self._ends = self._ends, []
        for end in ends:
            _shut(end)

    def close(self) -> None:
        """Break all, and listen no more."""
        self._server.shutdown()
        self.cut()
        self._server.server_close()

    def _note(self, *ends: socket.socket) -> None:
        with self._lock:
            self._ends += ends


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    _shut(source)
    _shut(sink)


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
