"""What only a directory can be: a pointer that is a folder, files half written by who was killed."""

from pathlib import Path

import pytest
from support.registering import NOW, register

from quandary.errors import CorruptArtefact, Unavailable
from quandary_server.registry.directory import Registry


def test_a_pointer_that_is_a_folder_is_moved_aside(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    generation = register(registry)
    registry.promote(generation, None, NOW, "me")
    (tmp_path / "CURRENT").unlink()
    (tmp_path / "CURRENT").mkdir()
    with pytest.raises(CorruptArtefact, match="CURRENT is torn"):
        registry.pointer()
    assert registry.promote(generation, None, NOW, "me") == registry.pointer()
    assert [path.name[:18] for path in tmp_path.glob("CURRENT.*")] == ["CURRENT.unreadable"]


def test_a_generation_that_is_erased_leaves_no_folder(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    register(registry)
    registry.erase(register(registry, {"member-0.onnx": b"b"}))
    assert len(list((tmp_path / "models").iterdir())) == 1
    (tmp_path / "models" / "g000009-00000000").mkdir()
    registry.erase("g000009-00000000")
    assert len(list((tmp_path / "models").iterdir())) == 1


def test_what_the_disk_refuses_is_told_by_path(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    (tmp_path / "numbers").write_text("no folder")
    with pytest.raises(Unavailable, match="numbers"):
        register(registry)
