"""A command line to run in this process."""

import os
from pathlib import Path
from typing import Any

import pytest

from quandary_server.cli import app


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in [name for name in os.environ if name.startswith("QUANDARY_")]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def quandary(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command line in this process; return its code and what it said on either stream, made one line."""

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["quandary", *arguments])
        code = 0
        try:
            app.run()
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capsys.readouterr()
        return code, " ".join((said.out + said.err).split())

    return run
