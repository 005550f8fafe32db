"""`quandary up` is told to stop before it has started."""

import os
import signal
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
