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


def test_figures_that_are_drawn_again_are_not_written_again(tmp_path: Path) -> None:
    (tmp_path / "figures.json").write_text("{}")
    asked = ["report", "--from", str(tmp_path / "figures.json"), "--json", str(tmp_path / "again.json")]
    found = CliRunner().invoke(app, [*asked, "--out", str(tmp_path / "drawn")])
    assert found.exit_code == 2
    assert "--json" in found.output
    assert not (tmp_path / "drawn").exists()


@pytest.mark.parametrize("command", ["study", "match"])
def test_a_folder_that_is_not_there_is_refused_at_once(command: str, tmp_path: Path) -> None:
    found = CliRunner().invoke(app, [command, "--kitti", str(tmp_path / "missing")])
    assert found.exit_code == 2
    assert "--kitti" in found.output
