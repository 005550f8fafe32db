"""quandary log publish | tail | lag, whatever holds the log."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.kafka_broker import KafkaBroker

from quandary import Calibration
from quandary_server.clock import now
from quandary_server.datasets.index import FrameEntry, write_index
from quandary_server.datasets.labels import LabelFile
from quandary_server.datasets.writing import write_frame
from quandary_server.settings import load_settings
from quandary_server.storage.task_values import RejectedEntry

Quandary = Callable[..., Any]


@pytest.fixture
def quandary(command_line: Quandary) -> Quandary:
    """Run a command line; return its code, what it printed, and what it said in one line."""

    def run(*arguments: str) -> Any:
        said = command_line(*arguments)
        return said._replace(err=" ".join(said.err.split()))

    return run


@pytest.fixture
def folder(tmp_path: Path, calibration: Calibration) -> str:
    """Three frames of a drive in the KITTI layout."""
    root = tmp_path / "fleet"
    for i in range(3):
        points = np.array([[20 + i, 3, -1, 0.5], [30, -4, 0, 0.25]], np.float32)
        write_frame(root, f"{i:06d}", points, calibration, LabelFile((), (), ()))
    write_index(root, [FrameEntry(f"{i:06d}", "drive", i, 1) for i in range(3)])
    return str(root)


def published(quandary: Quandary, folder: str, kind: str) -> dict[str, Any]:
    """Publish the folder; return what `lag` says, once `tail` has shown the last two frames."""
    done = quandary("log", "publish", folder)
    assert (done.code, done.err.endswith("3 frames published")) == (0, True), done.err
    rows = json.loads(quandary("log", "tail", "-n", "2", "--json").out)
    assert [row["frame_id"] for row in rows] == ["000001", "000002"]
    assert all(row["cloud_uri"].startswith(f"{kind}:///") for row in rows)
    assert "000002" in quandary("log", "tail").out
    found: dict[str, Any] = json.loads(quandary("log", "lag", "--json").out)
    assert found["lag"] == 3
    assert quandary("log", "lag").err == "3 records wait"
    return found


def test_sqlite(quandary: Quandary, folder: str) -> None:
    (source,) = published(quandary, folder, "file")["sources"]
    assert (source["applied"], source["lag"], source["problem"]) == (0, 3, "")


def test_mcap(quandary: Quandary, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANDARY_SELECTOR__LOG_KIND", "mcap")
    (source,) = published(quandary, folder, "mcap")["sources"]
    assert (source["lag"], source["state"]) == (3, "complete")
    (Path("quandary-data") / "fleet.mcap" / "torn.mcap").write_bytes(b"\x89MCAP0\r\n\x06")
    found = {row["source"]: row for row in json.loads(quandary("log", "lag", "--json").out)["sources"]}
    assert (found["torn.mcap"]["state"], found["torn.mcap"]["problem"]) == ("growing", "it ends at byte 9, without an end")
    assert "torn.mcap" in quandary("log", "lag").out


@pytest.mark.parametrize(("kind", "name"), [("sqlite", "fleet.log.db"), ("mcap", "fleet.mcap")])
def test_before_anything_is_published_it_tells_how_to(
    quandary: Quandary, monkeypatch: pytest.MonkeyPatch, kind: str, name: str
) -> None:
    monkeypatch.setenv("QUANDARY_SELECTOR__LOG_KIND", kind)
    for command in ("tail", "lag"):
        said = quandary("log", command)
        assert said.code == 1
        assert f"there is no fleet log at quandary-data/{name} yet: `quandary log publish FOLDER` begins it" in said.err
    assert not Path("quandary-data").exists(), "nothing is made by looking"


def test_an_empty_log_tells_how_to_publish(quandary: Quandary, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("quandary-data", "fleet.mcap").mkdir(parents=True)
    monkeypatch.setenv("QUANDARY_SELECTOR__LOG_KIND", "mcap")
    assert "`quandary log publish FOLDER`" in quandary("log", "tail").out
    assert "`quandary log publish FOLDER`" in quandary("log", "lag").out
    assert json.loads(quandary("log", "lag", "--json").out) == {"lag": 0, "sources": []}


def test_what_was_refused_is_shown_with_the_reason(quandary: Quandary) -> None:
    said = quandary("log", "rejected")
    assert said.code == 1
    assert "there is no database quandary-data/quandary.db" in said.err
    settings = load_settings()
    settings.data.mkdir()
    with settings.open_store() as store:
        assert "no record was refused" in quandary("log", "rejected").out
        for position in (1, 2):
            entry = RejectedEntry(position, f"reason {position}", b"xyz", f"f{position}")
            store.intake.apply([entry], log="mcap-a", after=position - 1, position=position, now=now())
    rows = json.loads(quandary("log", "rejected", "--json").out)
    assert [(row["frame_id"], row["log"], row["position"], row["reason"], row["payload_bytes"]) for row in rows] == [
        ("f2", "mcap-a", 2, "reason 2", 3),
        ("f1", "mcap-a", 1, "reason 1", 3),
    ]
    assert "reason 2" in (said := quandary("log", "rejected", "-n", "1")).out
    assert "reason 1" not in said.out


@pytest.fixture
def broker() -> Iterator[KafkaBroker]:
    running = KafkaBroker()
    yield running
    running.stop()


def test_kafka(quandary: Quandary, folder: str, monkeypatch: pytest.MonkeyPatch, broker: KafkaBroker) -> None:
    monkeypatch.setenv("QUANDARY_SELECTOR__LOG_KIND", "kafka")
    refused = quandary("log", "lag")
    assert refused.code == 2
    assert "selector.kafka.servers is missing, must be host:port" in refused.err
    monkeypatch.setenv("QUANDARY_SELECTOR__KAFKA__SERVERS", broker.servers)
    sources = published(quandary, folder, "file")["sources"]
    assert sorted(source["lag"] for source in sources) == [0, 0, 0, 3], "a drive is in one partition"


def test_a_kind_whose_libraries_are_missing_says_how_to_get_them(
    quandary: Quandary, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANDARY_SELECTOR__LOG_KIND", "mcap")
    for name in [name for name in sys.modules if name == "mcap" or name.startswith(("mcap.", "quandary_server.storage.mcap_"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mcap", None)
    refused = quandary("log", "publish", folder)
    assert refused.code == 1
    assert "pip install 'quandary[mcap]'" in refused.err
