"""Digests of the source files that decide an experiment, taken of a copy of the packages in which files are changed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from experiment.conftest import toy_settings

import quandary
import quandary_server
from quandary_server.experiment.source import DECIDING, source_digest

LOOK = """
import json, sys
from pathlib import Path
import quandary_server.experiment.judging.held_out
import quandary_server.experiment.replay.arm
from quandary_server.experiment.pools.build import pool_file

modules = [name for name in sys.modules if name.split(".")[0] in ("quandary", "quandary_server")]

from quandary_server.experiment.fingerprint import Fingerprint
from quandary_server.experiment.settings import ExperimentSettings

settings = ExperimentSettings.model_validate_json(sys.argv[1])

def look():
    pool = pool_file(settings.replays["main"].pool, settings.net.side, settings.seed, Path())
    return {"code": Fingerprint.of(settings).code, "pool": pool.name}

looks = {"": look()}
for name in sys.argv[2:]:
    path = Path(quandary_server.__file__).parent / name
    before = path.read_bytes()
    path.write_bytes(before + b"# changed\\n")
    looks[name] = look()
    path.write_bytes(before)
print(json.dumps({"modules": modules, "looks": looks}))
"""

DECIDES_CROPS = (
    *("simulator/sensor.py", "datasets/proposals.py", "frustum/raster.py", "experiment/pools/noise.py"),
    *("storage/blobs.py", "storage/mcap_clouds.py", "storage/point_clouds.py"),
)
DECIDES_ROUNDS = (
    *("selection/query.py", "uncertainty/acquisition.py", "detector/fitting.py", "experiment/replay/arm.py"),
    *("experiment/judging/uncertainty.py", "trainer/candidate.py", "evaluation/classes.py"),
)
DECIDES_NOTHING = ("experiment/results/savings.py", "experiment/report/page.py", "evaluation/savings.py", "cli/experiment.py")

NOT_DECIDING = (
    "quandary_server.experiment.yaml_file",
    *("quandary.errors", "quandary.v1"),
    *(
        f"quandary_server.{name}"
        for name in (
            "clock",
            "cluster",
            "files",
            "haproxy",
            "leasing",
            "registry",
            "settings",
            "storage",
            "supervisor",
            "trainer.checkpoints",
            "trainer.member_fit",
            "trainer.members",
        )
    ),
    *(f"quandary_server.experiment.{name}" for name in ("methods", "source", "window")),
)
"""What arms and pools import that leaves their outcome alone; methods are compared by themselves."""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a copy of the packages imports, and its digests, as it is and with one file changed at a time."""
    copy = tmp_path_factory.mktemp("copy")
    for package in (quandary, quandary_server):
        root = Path(str(package.__file__)).parent
        shutil.copytree(root, copy / root.name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-c", LOOK, toy_settings().model_dump_json()]
    command += [*DECIDES_CROPS, *DECIDES_ROUNDS, *DECIDES_NOTHING]
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", DECIDES_CROPS)
def test_what_decides_the_crops_changes_the_code_and_the_file_of_the_pool(seen: dict[str, Any], name: str) -> None:
    before, after = seen["looks"][""], seen["looks"][name]
    assert after["code"] != before["code"]
    assert after["pool"] != before["pool"]


@pytest.mark.parametrize("name", DECIDES_ROUNDS)
def test_what_decides_the_rounds_changes_the_code_and_leaves_the_pool(seen: dict[str, Any], name: str) -> None:
    before, after = seen["looks"][""], seen["looks"][name]
    assert after["code"] != before["code"]
    assert after["pool"] == before["pool"]


@pytest.mark.parametrize("name", DECIDES_NOTHING)
def test_what_is_drawn_from_the_records_changes_nothing(seen: dict[str, Any], name: str) -> None:
    assert seen["looks"][name] == seen["looks"][""]


def test_all_that_arms_and_pools_import_is_known_to_decide_or_not(seen: dict[str, Any]) -> None:
    packages = {name.rpartition(".")[0] for name in seen["modules"]}
    known = (*DECIDING, *NOT_DECIDING)
    unknown = [
        name
        for name in seen["modules"]
        if name not in packages and not any(name == room or name.startswith(f"{room}.") for room in known)
    ]
    assert unknown == []


def test_a_digest_is_of_names_and_bytes_in_whatever_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    room = tmp_path / "a_room"
    room.mkdir()
    (room / "__init__.py").write_text("")
    (room / "one.py").write_text("ONE = 1\n")
    first = source_digest("a_room", "json")
    assert source_digest("json", "a_room", "json") == first
    assert source_digest("a_room") != first
    assert source_digest("a_room.one") != source_digest("a_room")

    (room / "one.py").rename(room / "two.py")
    assert source_digest("a_room", "json") != first
    (room / "two.py").rename(room / "one.py")
    assert source_digest("a_room", "json") == first

    with pytest.raises(ModuleNotFoundError, match=r"a_room\.nothing"):
        source_digest("a_room.nothing")
