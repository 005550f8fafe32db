"""The demo, small: its table, its picture, its figures, and nothing left behind."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ROUNDS = 1
SMALL = ["--rounds", str(ROUNDS), "--first", "30", "--budget", "30", "--members", "2", "--steps", "20"]


def demo(tmp_path: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    out, figures = tmp_path / "out", tmp_path / "demo.json"
    command = [sys.executable, "-m", "quandary_server.cli", "demo", *SMALL, *arguments]
    done = subprocess.run(
        [*command, "--out", str(out), "--json", str(figures)],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "160"},
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    picture = (out / "demo.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 20_000
    document = json.loads(figures.read_text())
    assert set(document) == {"figures", "command", "commit", "machine"}
    return {figure["name"]: figure for figure in document["figures"]}, done.stdout


def check(figures: dict[str, Any], output: str) -> None:
    for figure in figures.values():
        assert set(figure) == {"name", "value", "unit", "reach", "met", "samples"}
    for arm in ("active", "random"):
        labels = figures[f"{arm}_labels"]["samples"]
        assert len(labels) == ROUNDS + 1
        assert labels == sorted(labels)
        assert all(0 <= value <= 1 for value in figures[f"{arm}_macro_recall"]["samples"])
        assert len(figures[f"{arm}_nll"]["samples"]) == ROUNDS + 1
    assert figures["active_labels"]["samples"][0] == figures["random_labels"]["samples"][0]
    assert figures["active_macro_recall"]["samples"][0] == figures["random_macro_recall"]["samples"][0]
    assert figures["failed_answers"]["value"] == 0
    assert figures["answers"]["value"] > 10
    assert "macro recall" in output
    assert f"{figures['answers']['value']:.0f} frames scored meanwhile through " in output
    assert "demo.png" in output


def test_on_a_simulated_fleet(tmp_path: Path) -> None:
    check(*demo(tmp_path, "--frames", "5"))


def test_on_real_frames_with_published_detections(tmp_path: Path, kitti: Path) -> None:
    check(*demo(tmp_path, "--kitti", str(kitti), "--proposals", "detections"))
