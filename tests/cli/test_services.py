"""The commands that run services: told to stop before they have started, and on a port that is taken."""

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from support.quandary import COMMAND, small_settings

pytestmark = pytest.mark.timeout(120)


def test_ctrl_c_while_the_services_start_says_so_at_once(tmp_path: Path) -> None:
    environment = {**os.environ, **small_settings(tmp_path / "data").environment()}
    with subprocess.Popen([*COMMAND, "up"], env=environment, stderr=subprocess.PIPE, text=True) as up:
        assert up.stderr is not None
        assert up.stderr.readline() == "starting Ray and the services ...\n"
        up.send_signal(signal.SIGINT)
        assert up.stderr.readline() == "stopping ...\n"
        assert up.wait(60) == 0


def test_a_taken_port_of_scoring_alone_is_named_at_once(tmp_path: Path) -> None:
    settings = small_settings(tmp_path / "data")
    with socket.socket() as taken:
        taken.bind((settings.scoring.host, settings.scoring.port))
        taken.listen()
        environment = {**os.environ, **settings.environment()}
        ended = subprocess.run([*COMMAND, "scoring"], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "is taken" in ended.stderr
    assert "QUANDARY_SCORING__PORT" in ended.stderr
