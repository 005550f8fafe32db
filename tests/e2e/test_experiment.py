"""The quick experiment, by the command."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def quandary(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "quandary_server.cli", "experiment", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=540)


def test_asking_beats_chance_and_the_figures_alone_draw_the_report(tmp_path: Path) -> None:
    folder, figures = tmp_path / "experiment", tmp_path / "figures.json"
    done = quandary("run", "--quick", "--out", str(folder), "--json", str(figures))
    assert done.returncode == 0, done.stderr + done.stdout
    assert "quick_lead" in done.stdout
    found = {figure["name"]: figure for figure in json.loads(figures.read_text())["figures"]}
    assert found["quick_lead"]["value"] > 0
    assert found["quick_lead"]["met"] is True

    drawn = quandary("report", "--from", str(figures), "--out", str(tmp_path / "drawn"))
    assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "drawn" / "report.html").stat().st_size > 100_000


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("run",), "--quick"),
        (("run", "nowhere.yaml"), "a YAML file, or one of full, quick"),
        (("report", "--out", "nowhere"), "there is no experiment in nowhere"),
    ],
)
def test_mistakes_end_in_a_line(arguments: tuple[str, ...], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = quandary(*arguments)
    assert done.returncode != 0
    assert told in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
