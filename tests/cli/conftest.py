"""A command line to run in this process."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.labelling import GENERATION, Server, fill, frame_score
from support.records import START

from quandary_server.cli import app
from quandary_server.storage.store import Store
from quandary_server.storage.task_values import NewScore


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


@pytest.fixture
def server(tmp_path: Path, make_frame: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The services, to which the command line finds its way; f0 and f1 are scored and ranked, f2 to f5 wait unscored."""
    with Store.open(tmp_path / "store.db") as store:
        fill(store, tmp_path / "clouds", make_frame)
        scores = [NewScore(name, score, frame_score(name)) for name, score in (("f0", 0.5), ("f1", 0.4))]
        store.ranking.rescore("active", scores, generation=GENERATION, now=START)
        store.ranking.write_ranks("active", ["f0", "f1"], now=START)
        running = Server(store, tmp_path / "tokens.json")
        monkeypatch.setenv("QUANDARY_SELECTOR__PORT", running.target.rpartition(":")[2])
        monkeypatch.setenv("QUANDARY_TOKEN", running.token)
        yield running
        running.stop()
