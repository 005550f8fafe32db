"""Processes that are killed in the midst of registering, promoting and deleting, many times."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from support.registering import register

from quandary_server.registry.directory import Registry
from quandary_server.registry.retention import Retention, prune

ROUNDS = 30
TESTS = Path(__file__).parents[1]


def test_no_kill_breaks_the_pointer_or_shows_half_a_generation(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*filter(None, sys.path), str(TESTS)])}
    command = [sys.executable, "-m", "support.killed", str(tmp_path), "1", str(ROUNDS)]
    ran = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, timeout=120)
    told = json.loads(ran.stdout)
    assert told["broken"] == []
    assert told["forward"]
    assert told["killed"] == 2 * ROUNDS
    assert told["moves"] > 0

    # whatever they left goes in its time, and the registry works on
    registry, later = Registry(tmp_path), datetime.now(UTC) + timedelta(days=2)
    newest = register(registry)
    pointer = registry.promote(newest, registry.pointer(), later, "me")
    for name in pointer.pinned:
        registry.pin(name, False)
    prune(registry, Retention(keep=1), later)
    assert set(registry.folders()) == {newest, pointer.previous}
    left = {path.name for path in tmp_path.rglob("*") if path.is_file() and path.name.startswith(".")}
    assert left <= {".lock"}
