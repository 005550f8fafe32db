"""The quick experiment, by the command."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import ray
import yaml
from experiment.conftest import toy_settings
from support.waiting import wait_for

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


@pytest.mark.parametrize(("number", "code", "joined"), [(signal.SIGINT, 130, False), (signal.SIGTERM, 143, True)])
def test_a_run_that_is_stopped_says_so_and_ends_its_own_ray_alone(
    ray_cluster: str, tmp_path: Path, number: signal.Signals, code: int, joined: bool
) -> None:
    """Some 10 s with a Ray of its own, 5 s in the session's."""
    config, folder = tmp_path / "toy.yaml", tmp_path / "experiment"
    settings = toy_settings(methods={"random": 50}).model_dump(mode="json")
    settings["replays"]["main"]["pool"]["source"]["fleet"] |= {"pool_drives": 2, "evaluation_drives": 2, "frames_per_drive": 6}
    config.write_text(yaml.safe_dump(settings))
    arguments = ["experiment", "run", str(config), "--out", str(folder)]
    environment = os.environ | ({"QUANDARY_RAY__ADDRESS": ray_cluster} if joined else {})
    command = [sys.executable, "-m", "quandary_server.cli", *arguments]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        wait_for(lambda: list(folder.glob("arms/*/*.json")) or process.poll() is not None, timeout_s=300)
        started = psutil.Process(process.pid).children(recursive=True)
        # Ctrl-C is for all processes of a terminal, SIGTERM for one
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
        _, told = process.communicate(timeout=120)

    assert process.returncode == code, told
    # Ray may have its say before
    *_, first, second = told.splitlines()
    assert first.startswith("stopped after ")
    assert first.endswith(f" rounds, kept in {folder}")
    assert second == f"the same command goes on: quandary {' '.join(arguments)}"
    assert psutil.wait_procs(started, timeout=60)[1] == []
    # the session's Ray answers still
    assert ray.get(ray.put(1)) == 1
