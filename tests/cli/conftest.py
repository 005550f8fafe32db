"""A command line to run in this process."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from quandary_server.cli import app


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in [name for name in os.environ if name.startswith("QUANDARY_")]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)


class Said(NamedTuple):
    """How a command ended: its exit code, and what it said."""

    code: int
    out: str
    err: str


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run a command line in this process; return how it ended."""

    def run(*arguments: str) -> Said:
        monkeypatch.setattr("sys.argv", ["quandary", *arguments])
        code = 0
        try:
            app.run()
        except SystemExit as ended:
            code = int(ended.code or 0)
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture
def quandary(command_line: Callable[..., Said]) -> Any:
    """Run a command line in this process; return its code and what it said on either stream, made one line."""

    def run(*arguments: str) -> tuple[int, str]:
        said = command_line(*arguments)
        return said.code, " ".join((said.out + said.err).split())

    return run
