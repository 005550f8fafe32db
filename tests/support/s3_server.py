"""Run by another interpreter than the tests': moto's S3. Prints its port, and ends with its standard input.

S3 compares and swaps as one step; moto does so in two, so requests take turns here. Paths below /-/ are for the tests: away,
refuses, slow, lost and well say how it answers from then on, requests gives the requests that have come, by method and path.
"""

import json
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

REFUSALS = {"away": "503 Service Unavailable", "refuses": "403 Forbidden"}


class Faulty:
    """moto behind a door.

    away: answers 503. refuses: answers 403. slow: answers nothing until it is well. lost: does one PUT, and answers 500.
    """

    def __init__(self) -> None:
        self._s3: Any = DomainDispatcherApplication(create_backend_app)
        self._turn = threading.Lock()
        self._mode, self._well = "well", threading.Event()
        self._well.set()
        self._requests: Counter[str] = Counter()

    def __call__(self, request: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path, method = request["PATH_INFO"], request["REQUEST_METHOD"]
        if path.startswith("/-/"):
            return self._told(path.removeprefix("/-/"), start)
        self._requests[f"{method} {path}"] += 1
        mode = self._mode
        if mode in REFUSALS:
            start(REFUSALS[mode], [])
            return []
        if mode == "slow":
            self._well.wait()
        with self._turn:
            if mode == "lost" and method == "PUT":
                self._mode = "well"
                list(self._s3(request, lambda *_: None))
                start("500 Internal Server Error", [])
                return []
            return list(self._s3(request, start))

    def _told(self, what: str, start: Callable[..., Any]) -> Iterable[bytes]:
        start("200 OK", [])
        if what == "requests":
            return [json.dumps(self._requests).encode()]
        self._mode = what
        (self._well.clear if what == "slow" else self._well.set)()
        return []


def main() -> None:
    server = make_server("127.0.0.1", 0, Faulty(), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
