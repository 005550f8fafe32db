"""Benchmarks by the command line, the parts that take seconds."""

import json
from pathlib import Path

import pytest

from quandary_server.bench.scoring.bars import BARS
from quandary_server.cli import app

UNMET = 1


def test_a_part_that_fails_is_named_and_the_others_are_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    taken, found = tmp_path / "taken", tmp_path / "scoring.json"
    taken.mkdir()
    (taken / "thesis.tex").write_text("all of it")
    only = ["--only", "baal", "--only", "crops"]
    monkeypatch.setattr("sys.argv", ["quandary", "bench", "scoring", "--json", str(found), *only, "--baal", str(taken)])
    with pytest.raises(SystemExit) as ended:
        app.run()
    assert ended.value.code == UNMET
    assert "baal: Unavailable: " in capsys.readouterr().err
    document = json.loads(found.read_text())
    assert document["command"] == "quandary bench scoring --only baal --only crops"
    assert document["figures"][0]["name"] == "crop_ms_20k"
    assert document["figures"][0]["reach"] == f"<= {BARS['crop_ms_20k'].bound:g}"
