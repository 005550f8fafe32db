from pathlib import Path

import pytest
from typer.testing import CliRunner

from quandary.errors import InvalidArgument
from quandary_server.cli.experiment import app
from quandary_server.experiment.pools.build import KITTI_VARIABLE


def test_matching_without_real_frames_names_the_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(KITTI_VARIABLE, raising=False)
    found = CliRunner().invoke(app, ["match", "--out", str(tmp_path)])
    assert isinstance(found.exception, InvalidArgument)
    assert KITTI_VARIABLE in str(found.exception)


@pytest.mark.parametrize("command", ["study", "match"])
def test_a_folder_that_is_not_there_is_refused_at_once(command: str, tmp_path: Path) -> None:
    found = CliRunner().invoke(app, [command, "--kitti", str(tmp_path / "missing")])
    assert found.exit_code == 2
    assert "--kitti" in found.output
