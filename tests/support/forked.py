"""Scripts in processes of their own, forked off one that has imported already what they need (see conftest.py)."""

import multiprocessing
import os
import sys
from contextlib import suppress
from typing import Any


class ForkedScript:
    """A script that runs: what it writes, and what it is told, as of a `subprocess.Popen` of a new interpreter."""

    def __init__(self, script: str, *arguments: object) -> None:
        context = multiprocessing.get_context("forkserver")
        (its_in, told), (said, its_out) = context.Pipe(duplex=False), context.Pipe(duplex=False)
        self._process = context.Process(target=_run, args=(script, [*map(str, arguments)], its_in, its_out), daemon=True)
        self._process.start()
        self.stdin, self.stdout = os.fdopen(os.dup(told.fileno()), "w"), os.fdopen(os.dup(said.fileno()))
        for end in (its_in, told, said, its_out):
            end.close()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def communicate(self, timeout: float) -> str:
        """Tell it nothing more; return what it has still to say, once it has ended."""
        with suppress(BrokenPipeError):  # it was killed before it read all
            self.stdin.close()
        with self.stdout:
            said = self.stdout.read()
        self._process.join(timeout)
        assert self._process.exitcode is not None, "not in time"
        return said


def _run(script: str, arguments: list[str], stdin: Any, stdout: Any) -> None:
    os.dup2(stdin.fileno(), 0)
    os.dup2(stdout.fileno(), 1)
    stdin.close()
    stdout.close()
    sys.argv, sys.stdin, sys.stdout = ["-c", *arguments], os.fdopen(0), os.fdopen(1, "w")
    exec(compile(script, "-c", "exec"), {"__name__": "__main__"})
    sys.stdout.flush()
