"""Old generations are deleted from the command line, without a trainer."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.registering import several

from quandary_server.settings import load_settings


def test_a_dry_run_says_what_a_real_one_deletes_then(command_line: Callable[..., Any], tmp_path: Path) -> None:
    registry = load_settings(data=tmp_path).open_registry()
    a, b, c, d = several(registry, 4)
    registry.pin(a)
    arguments = ("generations", "prune", "--keep", "1", "--data", str(tmp_path))
    planned = json.loads(command_line(*arguments, "--dry-run", "--json").out)
    kept = {a: "pinned", c: "the one before the current", d: "current"}
    assert planned == {"dry_run": True, "generations": [b], "leftovers": [], "kept": kept}
    assert registry.generations() == [d, c, b, a]

    said = command_line(*arguments)
    assert said.code == 0
    assert registry.generations() == [d, c, a]
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in said.out.splitlines() if line.startswith("g0")}
    assert rows == {b: "deleted", **{name: f"kept: {why}" for name, why in kept.items()}}


def test_without_a_generation_there_is_nothing_to_delete(command_line: Callable[..., Any], tmp_path: Path) -> None:
    said = command_line("generations", "prune", "--data", str(tmp_path))
    assert (said.code, said.out.strip()) == (0, "no generation yet")


def test_a_registry_in_s3_that_is_not_there_is_told(command_line: Callable[..., Any], tmp_path: Path, monkeypatch: Any) -> None:
    for name, value in {"URL": "s3://models", "ENDPOINT": "http://127.0.0.1:9", "TIMEOUT": "PT0.2S"}.items():
        monkeypatch.setenv(f"QUANDARY_REGISTRY__{name}", value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    said = command_line("generations", "prune", "--data", str(tmp_path))
    assert said.code == 1
    assert "s3://models could not be reached" in said.err
